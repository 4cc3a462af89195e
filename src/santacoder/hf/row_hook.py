"""The hook that the library asks before each token of a row: it applies rules and the caller's own hooks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from santacoder._util.validation import format_value, invalid_argument
from santacoder.errors import InvalidRequestError
from santacoder.hf.generation_config import GenerationConfig
from santacoder.hf.processors import Rule, Scores, Step, penalty, rules, warp
from santacoder.hf.tensors import Kind, as_kind, kind_of, to_array
from santacoder.text.token_ids import TokenIds

Hook = Callable[..., Any]


@dataclass(frozen=True)
class Hooks:
    """What is to be asked before each token, for all rows of a call.

    Attributes:
        config: what the call asks for.
        kind: what the caller's hooks get and return: arrays or tensors.
        rules: those of the options, and first the repetition penalty.
        processors: the caller's `logits_processor`.
        criteria: the caller's `stopping_criteria`.
        lock: held while they run: the caller's hooks need not be safe for threads.
    """

    config: GenerationConfig
    kind: Kind
    rules: Sequence[Rule]
    processors: Sequence[Hook]
    criteria: Sequence[Hook]
    lock: Lock = field(default_factory=Lock)

    @property
    def keeps_scores(self) -> bool:
        """Whether the scores of each token are returned."""
        return bool(self.config.return_dict_in_generate and self.config.output_scores)

    @property
    def keeps_logits(self) -> bool:
        """Whether the logits of each token are returned."""
        return bool(self.config.return_dict_in_generate and self.config.output_logits)

    def __bool__(self) -> bool:
        return bool(self.rules or self.processors or self.criteria or self.keeps_scores or self.keeps_logits)


def make_hooks(
    config: GenerationConfig,
    kind: Kind,
    ends: Sequence[int],
    vocab_size: int,
    logits_processor: object = None,
    stopping_criteria: object = None,
) -> Hooks:
    """Collect what is to be asked before each token of a call.

    Raises:
        InvalidRequestError: an option has a wrong type or is out of range.
    """
    processors = _functions("logits_processor", logits_processor)
    criteria = _functions("stopping_criteria", stopping_criteria)
    hooks = Hooks(config, kind, rules(config, ends, vocab_size), processors, criteria)
    factor = config.repetition_penalty
    if not hooks or factor is None or factor == 1:
        return hooks
    return replace(hooks, rules=[penalty(factor), *hooks.rules])


def _functions(name: str, value: object) -> list[Hook]:
    each = [] if value is None else value
    if not isinstance(each, Iterable) or isinstance(each, str) or not all(map(callable, found := [*each])):
        raise invalid_argument(name, value, "a list of functions")
    return found


class RowEndedError(Exception):
    """A stopping criterion has ended the row."""


class RowHook:
    """The library's `logits_processor` of one row.

    Attributes:
        ended: whether a stopping criterion ended the row; `tokens` is the result then.
        tokens: the generated tokens when the hook was last asked.
        error: what the caller's hook raised.
        scores, logits: (V,) for each token, if they are kept.
    """

    def __init__(self, hooks: Hooks, row: NDArray[np.int64], prompt_tokens: int) -> None:
        """Prepare for a row (T,) as the caller gave it, of which `prompt_tokens` are no padding."""
        self._hooks = hooks
        self._row = row
        self._prompt_tokens = prompt_tokens
        self._start: int | None = None  # of the generated tokens, in what the model reads
        self.ended = False
        self.tokens: list[int] = []
        self.error: Exception | None = None
        self.scores: list[Scores] = []
        self.logits: list[Scores] = []

    def __call__(self, token_ids: TokenIds, logits: Scores) -> None:
        """Change the logits (V,) that follow the tokens (N,), in place.

        Raises:
            RowEndedError: a stopping criterion has ended the row.
            Exception: a hook of the caller raised it.
        """
        try:
            with self._hooks.lock:
                self._ask(token_ids, logits)
        except Exception as error:
            self.ended = isinstance(error, RowEndedError)
            self.error = None if self.ended else error
            raise

    @property
    def healed(self) -> int:
        """How many tokens of the prompt token healing took back, once the hook was asked."""
        return 0 if self._start is None else self._prompt_tokens - self._start

    def _ask(self, token_ids: TokenIds, logits: Scores) -> None:
        hooks = self._hooks
        if self._start is None:
            self._start = token_ids.size
        self.tokens = token_ids[self._start :].tolist()
        done, ids = len(self.tokens), self._ids()
        if done and self._ends(ids):
            raise RowEndedError
        if hooks.keeps_logits:
            self.logits[done:] = [logits.copy()]
        for rule in hooks.rules:
            rule(Step(ids, token_ids, done), logits)
        for processor in hooks.processors:
            logits[:] = self._processed(processor, ids, logits)
        if hooks.keeps_scores:
            self.scores[done:] = [warp(hooks.config, logits.copy())]

    def finish(self, tokens: Sequence[int]) -> None:
        """Ask the criteria after the last of the generated tokens, too; what they answer changes nothing any more.

        Raises:
            Exception: a criterion raised it.
        """
        if len(tokens) > len(self.tokens):
            self.tokens = [*tokens]
            with self._hooks.lock:
                self._ends(self._ids())

    def _ids(self) -> NDArray[np.int64]:
        """Return the row as the caller gave it, without what token healing took back, and what was generated."""
        return np.concatenate([self._row[: self._row.size - self.healed], np.array(self.tokens, dtype=np.int64)])

    def _ends(self, ids: NDArray[np.int64]) -> bool:
        answers = [self._answer(criterion, ids) for criterion in self._hooks.criteria]
        return any(answers)

    def _answer(self, criterion: Hook, ids: NDArray[np.int64]) -> bool:
        kind = self._hooks.kind
        scores = tuple(as_kind(row[None], kind) for row in self.scores) if self._hooks.keeps_scores else None
        answer = criterion(as_kind(ids[None].copy(), kind), scores)
        if getattr(answer, "shape", ()) not in ((), (1,)):
            raise InvalidRequestError(
                f"a stopping criterion returned {tuple(answer.shape)} values, but a row is asked for by itself: it "
                "must return a bool, or an array or tensor (1,) of them"
            )
        return bool(answer)

    def _processed(self, processor: Hook, ids: NDArray[np.int64], scores: Scores) -> Scores:
        kind = self._hooks.kind
        result = processor(as_kind(ids[None].copy(), kind), as_kind(scores[None].copy(), kind))
        array = to_array(result) if kind_of(result) else None
        if array is None or array.shape != (1, scores.size):
            what = format_value(result) if array is None else f"scores of the shape {array.shape}"
            raise InvalidRequestError(
                f"a logits processor returned {what}, but it must return scores of the shape (1, {scores.size})"
            )
        row: Scores = array[0]
        return row
