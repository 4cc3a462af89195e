"""The parts of lm-eval that the integration uses, rewritten for tests where lm-eval is not installed."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

import santacoder


class TemplateLM:
    """Splits texts into tokens of the context and of the continuation; see lm_eval.api.model."""

    cache_hook = SimpleNamespace(add_partial=lambda *_: None)

    def loglikelihood(self: Any, requests: Any, disable_tqdm: bool = False) -> Any:
        pairs = []
        for request in requests:
            context, continuation = request.args
            kept = context.rstrip()
            before = self.tok_encode(kept)
            after = self.tok_encode(context + continuation)[len(before) :]
            pairs.append((request.args, before, after))
        return self._loglikelihood_tokens(pairs, disable_tqdm=disable_tqdm)


def get_rolling_token_windows(
    token_list: list[int], prefix_token: int, max_seq_len: int, context_len: int
) -> Iterator[tuple[list[int], list[int]]]:
    """Yield what each window reads, and the tokens that it predicts."""
    read = [prefix_token, *token_list[:-1]]
    for first in range(0, len(token_list), max_seq_len - context_len + 1):
        stop = min(first + max_seq_len - context_len + 1, len(token_list))
        yield read[max(stop - max_seq_len, 0) : stop], token_list[first:stop]


def make_disjoint_window(pair: tuple[list[int], list[int]]) -> tuple[list[int], list[int]]:
    """Return a window without tokens that are both read and predicted."""
    read, predicted = pair
    return read[: len(read) - len(predicted) + 1], predicted


def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put these in the place of lm-eval."""
    parts: dict[str, dict[str, Any]] = {
        "lm_eval": {},
        "lm_eval.api": {},
        "lm_eval.api.model": {"TemplateLM": TemplateLM},
        "lm_eval.api.registry": {"register_model": lambda name: lambda kind: kind},
        "lm_eval.utils": {
            "get_rolling_token_windows": get_rolling_token_windows,
            "make_disjoint_window": make_disjoint_window,
        },
    }
    for name, values in parts.items():
        module = ModuleType(name)
        vars(module).update(values)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.delitem(sys.modules, "santacoder.integrations.lm_eval", raising=False)


def integration(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Import the integration, with these in the place of lm-eval where that is not installed."""
    try:
        return importlib.import_module("santacoder.integrations.lm_eval")
    except santacoder.MissingPackageError:
        stand_in(monkeypatch)
        return importlib.import_module("santacoder.integrations.lm_eval")
