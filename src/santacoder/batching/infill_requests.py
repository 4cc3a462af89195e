"""The methods of a model for several gaps at once, and for how much is read around them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncGenerator, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from santacoder._util.validation import check_integer, check_number, check_text, invalid_argument
from santacoder.batching.async_requests import AsyncRequests
from santacoder.batching.scheduler import Scheduler
from santacoder.decoding.options import SamplingOptions, with_options
from santacoder.decoding.results import Completion, Piece
from santacoder.decoding.sequence import Sequence
from santacoder.errors import InvalidRequestError
from santacoder.requests import check_each
from santacoder.text.infilling import Mode, Surroundings
from santacoder.text.line_breaks import as_lf

if TYPE_CHECKING:
    from typing_extensions import Unpack

EXTRA_TOKENS: Final = 512
MAX_SECONDS: Final = 1e9

#: The text before a gap, and the text after it.
Gap = tuple[str, str]
Gaps = Iterable[Gap]


@dataclass(frozen=True, slots=True)
class GapForm:
    """How gaps become prompts: the arguments of `InfillRequests.infill_many` that are no sampling options."""

    mode: Mode | None = "auto"
    single_line: bool | None = False
    extra: Iterable[str] | None = ()
    extra_tokens: int | None = None
    context_budget: float | None = None

    def around(self, scheduler: Scheduler[Any]) -> Surroundings:
        """Return what else to read, and how much.

        Raises:
            InvalidRequestError: an argument has a wrong type or is out of range.
        """
        extra = () if self.extra is None else self.extra
        if isinstance(extra, str | bytes | Mapping) or not isinstance(extra, Iterable):
            raise invalid_argument("extra", extra, "a list of texts")
        texts = check_each("extra", extra, _checked_text)
        most = EXTRA_TOKENS if self.extra_tokens is None else check_integer("extra_tokens", self.extra_tokens, 0, None)
        reading = None
        if self.context_budget is not None:
            reading = scheduler.reading(check_number("context_budget", self.context_budget, 0, MAX_SECONDS))
        return Surroundings(texts, most, reading)


def _checked_text(text: str) -> str:
    check_text(text)
    return as_lf(text)


def check_gaps(gaps: Gaps) -> Gaps:
    """Return gaps.

    Raises:
        InvalidRequestError: they are a single text, a mapping, or nothing to iterate over.
    """
    if isinstance(gaps, str | bytes | Mapping) or not isinstance(gaps, Iterable):
        kind = type(gaps).__name__
        raise InvalidRequestError(f"gaps is a {kind}, but it must be a list of pairs: the texts before and after a gap")
    return gaps


def check_gap(gap: object) -> Gap:
    """Return a gap.

    Raises:
        InvalidRequestError: it is not a pair.
    """
    if not isinstance(gap, tuple | list) or len(gap) != 2:
        raise InvalidRequestError(f"it is a {type(gap).__name__}, but it must be a pair: the texts before and after")
    prefix, suffix = gap
    return prefix, suffix


class InfillRequests(AsyncRequests):
    """Infills of several gaps, several times each, with other files and a limit on what is read.

    Beside the arguments of `SantaCoder.infill` these methods have:

    - `extra`: texts of other files, which come before the prefix, the most useful one last. Their last tokens are kept,
      as many as `extra_tokens` says, but no more than a quarter of the room, and only where prefix and suffix leave it.
    - `context_budget`: seconds that reading the prompt may take. If the tokens that are not in a cache would take
      longer, at the speed of the last prompts, less is read around the gap, but at least 256 tokens: see
      `infilling.fit_reading`. With it the result depends on what was read before.

    Sample 0 of a gap is what `infill` returns for it.
    """

    @with_options
    def infill_many(
        self,
        gaps: Gaps,
        n: int | None = 1,
        *,
        mode: Mode | None = "auto",
        single_line: bool | None = False,
        extra: Iterable[str] | None = (),
        extra_tokens: int | None = EXTRA_TOKENS,
        context_budget: float | None = None,
        progress: bool | None = None,
        **options: Unpack[SamplingOptions],
    ) -> list[list[Completion]]:
        """Infill many gaps, each a prefix and a suffix, `n` times each, in batches: see `complete_many`.

        `extra`, `extra_tokens` and `context_budget` are explained above; the other arguments are those of `infill`.

        Returns:
            [gap][sample]

        Raises:
            InvalidRequestError: as in `infill`; the message names the gap.
            ContextOverflowError: max_tokens leaves no room for a prompt.
            NumericalError: a sample's logits are not finite; the others are given up.
            ModelClosedError: the model is closed.
        """
        form = GapForm(mode, single_line, extra, extra_tokens, context_budget)
        return self._finish_many(self._gap_samples(gaps, n, form, options), progress)

    @with_options
    async def ainfill_many(
        self,
        gaps: Gaps,
        n: int | None = 1,
        *,
        mode: Mode | None = "auto",
        single_line: bool | None = False,
        extra: Iterable[str] | None = (),
        extra_tokens: int | None = EXTRA_TOKENS,
        context_budget: float | None = None,
        progress: bool | None = None,
        **options: Unpack[SamplingOptions],
    ) -> list[list[Completion]]:
        """Run `infill_many` for asyncio."""
        form = GapForm(mode, single_line, extra, extra_tokens, context_budget)
        return await self._afinish_many(self._gap_samples(gaps, n, form, options), progress)

    @with_options
    def astream_infill_many(
        self,
        gaps: Gaps,
        n: int | None = 1,
        *,
        mode: Mode | None = "auto",
        single_line: bool | None = False,
        extra: Iterable[str] | None = (),
        extra_tokens: int | None = EXTRA_TOKENS,
        context_budget: float | None = None,
        **options: Unpack[SamplingOptions],
    ) -> AsyncGenerator[tuple[int, int, Piece], None]:
        """Infill many gaps, `n` times each, and yield the pieces of all samples as they come: see `astream_many`.

        Arguments are checked at once, and are those of `infill_many`.

        Yields:
            The index of the gap, the number of its sample, and a piece.
        """
        form = GapForm(mode, single_line, extra, extra_tokens, context_budget)
        return self._apieces_of_many(self._gap_samples(gaps, n, form, options))

    @abstractmethod
    def _gap_samples(
        self, gaps: Gaps, n: int | None, form: GapForm, options: SamplingOptions
    ) -> list[list[Sequence]]: ...
    @abstractmethod
    def _finish_many(self, samples: list[list[Sequence]], progress: bool | None) -> list[list[Completion]]: ...
