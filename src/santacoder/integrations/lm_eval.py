"""SantaCoder as a model of lm-evaluation-harness, in this process: no server, and requests run together in batches.

    python -m santacoder.integrations.lm_eval --tasks TASK --model_args model=PATH

registers the model "santacoder", selects it, and runs lm-eval with the rest of the arguments. In Python, import this
module to register it, or pass a `SantaCoderLM` to `lm_eval.simple_evaluate`.
"""

from __future__ import annotations

import logging
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any, Final

import santacoder
from santacoder._util.validation import check_integer, invalid_argument
from santacoder.decoding.options import SamplingOptions
from santacoder.errors import ContextOverflowError, InvalidRequestError, MissingPackageError
from santacoder.model import SantaCoder
from santacoder.requests import Request

try:
    from lm_eval.api.model import TemplateLM
    from lm_eval.api.registry import register_model
    from lm_eval.utils import get_rolling_token_windows, make_disjoint_window
except ImportError as error:
    problem = f"this needs lm-eval: `pip install santacoder[lm-eval]` ({error})"
    if __name__ == "__main__":
        sys.exit(f"santacoder: {problem}")
    raise MissingPackageError(problem) from None

NAME: Final = "santacoder"
MAX_GEN_TOKS: Final = 256  # lm-eval's own default

#: Names that tasks use for the most tokens to generate; the first that is given counts.
LENGTHS: Final = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")

PASSED_ON: Final = (
    "top_p", "top_k", "min_p", "repetition_penalty", "frequency_penalty", "presence_penalty", "seed"
)  # fmt: skip

_log = logging.getLogger(__name__)


@register_model(NAME)
class SantaCoderLM(TemplateLM):  # type: ignore[misc]
    """A model that answers lm-eval's three kinds of requests.

    Texts are tokenised as in `SantaCoder.complete`, special tokens included.
    """

    def __init__(
        self,
        model: str | SantaCoder | None = None,
        threads: int | None = None,
        context: int | None = None,
        seed: int = 1234,
        max_gen_toks: int = MAX_GEN_TOKS,
        *,
        type: str | None = None,
        revision: str | None = None,
        cache_dir: str | None = None,
        token: str | bool | None = None,
        local_files_only: bool = False,
        **unused: Any,
    ) -> None:
        """Load a model.

        Args:
            model: a name as `santacoder.load` takes it, or a loaded model; None is the packaged one.
            threads: as in `santacoder.load`.
            context: likewise.
            seed: of requests that sample. The n-th of equal requests in one call gets sample number n.
            max_gen_toks: the most tokens to generate if a task does not say.
            type: as in `santacoder.load`.
            revision: likewise.
            cache_dir: likewise.
            token: likewise.
            local_files_only: likewise.
            unused: what lm-eval passes to every model (batch_size, device, ...), and trust_remote_code; ignored, as
                batches form by themselves, and code of a repository is never run.

        Raises:
            InvalidRequestError: an argument is unknown.
            SantaCoderError: the model cannot be loaded.
        """
        super().__init__()
        if unknown := set(unused) - {"batch_size", "max_batch_size", "device", "trust_remote_code"}:
            raise InvalidRequestError(f"{sorted(unknown)[0]!r} is not an argument of the model {NAME}")
        if not isinstance(model, SantaCoder):
            model = santacoder.load(
                model, threads, context, type=type, revision=revision, cache_dir=cache_dir, token=token,
                local_files_only=local_files_only,
            )  # fmt: skip
        self.model: SantaCoder = model
        self._seed = seed
        self._warned: set[frozenset[str]] = set()
        self.max_gen_toks: int = max_gen_toks

    @property
    def eot_token_id(self) -> int:
        """The end of text, which is put before a text without a context."""
        if (token := self.model.tokenizer.eot_id) is None:
            raise InvalidRequestError("the model has no end-of-text token")
        return token

    @property
    def max_length(self) -> int:
        """Positions of the context. One token more than that can be scored, since the last one is not read."""
        return self.model.context

    @property
    def tokenizer_name(self) -> str:
        """A name for lm-eval's caches."""
        return f"{NAME}-{self.model.config.name}-{self.model.tokenizer.n_tokens}"

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        """Convert text to ids, without adding any."""
        return self.model.tokenizer.encode(string)

    def _loglikelihood_tokens(
        self, requests: Sequence[tuple[Any, list[int], list[int]]], disable_tqdm: bool = False, **unused: Any
    ) -> list[tuple[float, bool]]:
        """Compute each continuation's log-probability, and whether every token of it has the largest logit.

        Of a context that is too long, the end is kept: the model reads `max_length` tokens, all but the last one.
        """
        sequences, lengths = [], []
        for texts, before, own in requests:
            # lm-eval tokenises both texts together, and a token across the border counts as the context's.
            after = own or self.tok_encode(texts[1])
            if len(after) > self.max_length:
                raise ContextOverflowError(
                    f"a continuation has {len(after)} tokens, but the context has {self.max_length} positions"
                )
            sequences.append([*(before or [self.eot_token_id]), *after][-self.max_length - 1 :])
            lengths.append(len(after))
        scores = self.model.score_many(sequences, progress=False if disable_tqdm else None)
        results: list[tuple[float, bool]] = []
        for (texts, _, _), length, score in zip(requests, lengths, scores, strict=True):
            start = len(score.tokens) - length
            total = sum(value for value in score.logprobs[start:] if value is not None)
            result = total, all(score.is_greedy[start:])
            results.append(result)
            if texts is not None:
                self.cache_hook.add_partial("loglikelihood", texts, result)
        return results

    def loglikelihood(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """Compute each continuation's log-probability after its context, and whether greedy decoding would give it.

        Raises:
            InvalidRequestError: a continuation is empty.
            ContextOverflowError: one is longer than the context.
        """
        for request in requests:
            context, continuation = request.args
            if not continuation:
                raise InvalidRequestError(f"the continuation of {context!r:.200} is empty: there is nothing to score")
        results: list[tuple[float, bool]] = super().loglikelihood(requests, disable_tqdm=disable_tqdm)
        return results

    def loglikelihood_rolling(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[float]:
        """Compute the log-probability of each text, read in windows that score every token once."""
        windows: list[tuple[None, list[int], list[int]]] = []
        counts = []
        for request in requests:
            pairs = map(
                make_disjoint_window,
                get_rolling_token_windows(
                    token_list=self.tok_encode(request.args[0]),
                    prefix_token=self.eot_token_id,
                    max_seq_len=self.max_length,
                    context_len=1,
                ),
            )
            new = [(None, list(before), list(after)) for before, after in pairs]
            windows += new
            counts.append(len(new))
        parts = iter(self._loglikelihood_tokens(windows, disable_tqdm=disable_tqdm))
        totals = [sum(next(parts)[0] for _ in range(count)) for count in counts]
        for request, total in zip(requests, totals, strict=True):
            self.cache_hook.add_partial("loglikelihood_rolling", request.args, total)
        return totals

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        """Complete each context, up to one of its stop strings; of a context that is too long, the end is kept."""
        seen: Counter[str] = Counter()
        jobs = []
        for request in requests:
            text, arguments = request.args
            key = repr((request.task_name, text, arguments))
            options = self._options(arguments)
            most = options["max_tokens"] or self.max_gen_toks
            room = self.max_length - most
            if room < 1:
                raise ContextOverflowError(
                    f"max_gen_toks is {most}, which leaves no room in a context of {self.max_length}"
                )
            tokens = self.tok_encode(text)[-room:]
            jobs.append(Request(tokens or "", options, seen[key]))
            seen[key] += 1
        from santacoder._util.progress import progress_bar

        texts = [""] * len(jobs)
        with progress_bar(len(jobs), "requests", False if disable_tqdm else None) as bar:
            for position, completion in self.model.complete_each(jobs):
                texts[position] = completion.text
                self.cache_hook.add_partial("generate_until", requests[position].args, completion.text)
                bar.update(1)
        return texts

    def _options(self, arguments: Mapping[str, Any]) -> SamplingOptions:
        """Convert a task's gen_kwargs to options; without do_sample or a temperature, decoding is greedy.

        None means not given. Unknown names are ignored, with one warning for each set of them.
        """
        given = dict(arguments)
        temperature = _number("temperature", given.pop("temperature", None))
        if (drawn := given.pop("do_sample", None)) is None:
            drawn = temperature is not None
        lengths = [(name, given.pop(name, None)) for name in LENGTHS]
        length, most = next((pair for pair in lengths if pair[1] is not None), (LENGTHS[0], self.max_gen_toks))
        options: SamplingOptions = {
            "stop": _stops(given.pop("until", None)),
            "max_tokens": check_integer(length, most, 1, None),
            "temperature": 0.0 if not drawn else 1.0 if temperature is None else temperature,
            "top_p": 1.0,
            "seed": self._seed,
            "token_healing": False,  # as other models of the harness read their prompts
        }
        for name in PASSED_ON:
            if (value := given.pop(name, None)) is not None:
                options[name] = value
        if (unknown := frozenset(given)) and unknown not in self._warned:
            self._warned.add(unknown)
            _log.warning("arguments of generation that %s does not have: %s", NAME, ", ".join(sorted(unknown)))
        return options


def _number(name: str, value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, Real | None):
        raise invalid_argument(name, value, "a number")
    return None if value is None else float(value)


def _stops(until: object) -> list[str]:
    """Return the stop strings that `until` names, without empty ones."""
    texts = [] if until is None else [until] if isinstance(until, str) else until
    if not isinstance(texts, list | tuple) or not all(isinstance(text, str) for text in texts):
        raise invalid_argument("until", until, "a text or a list of texts")
    return [text for text in texts if text]


def main(arguments: Sequence[str]) -> None:
    """Run lm-eval's command line with this model selected; its other commands are unchanged."""
    from lm_eval.__main__ import cli_evaluate

    rest = list(arguments)
    if rest[:1] == ["run"] or (rest and rest[0].startswith("-") and rest[0] not in ("-h", "--help")):
        rest = ["run", "--model", NAME, *(rest[1:] if rest[0] == "run" else rest)]
    sys.argv = ["lm-eval", *rest]
    cli_evaluate()


if __name__ == "__main__":
    main(sys.argv[1:])
