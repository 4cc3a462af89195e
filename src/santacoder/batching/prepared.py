"""Samples that are tokenized and checked before anything runs, so that their callers can see how far they are."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from itertools import chain

from santacoder.batching.infill_requests import GapForm, Gaps, InfillRequests
from santacoder.decoding.options import SamplingOptions
from santacoder.decoding.results import Completion, Piece
from santacoder.decoding.sequence import Sequence
from santacoder.requests import Prompts


class Prepared:
    """Samples of prompts or gaps, which run once: with `finish` or with `stream`.

    Attributes:
        rows: the samples, [prompt or gap][sample]. What they say of themselves may change at any time while they run.
    """

    def __init__(self, model: InfillRequests, rows: list[list[Sequence]]) -> None:
        """Take checked samples; use `of_prompts` or `of_gaps`."""
        self.rows = rows
        self._model = model

    @classmethod
    def of_prompts(cls, model: InfillRequests, prompts: Prompts, n: int, options: SamplingOptions) -> Prepared:
        """Prepare what `complete_many` runs; its errors are raised here."""
        return cls(model, model._samples(prompts, n, options))

    @classmethod
    def of_gaps(cls, model: InfillRequests, gaps: Gaps, n: int, form: GapForm, options: SamplingOptions) -> Prepared:
        """Prepare what `infill_many` runs; its errors are raised here."""
        return cls(model, model._gap_samples(gaps, n, form, options))

    def __iter__(self) -> Iterator[Sequence]:
        """Iterate over all samples, those of a prompt one after the other."""
        return chain.from_iterable(self.rows)

    async def finish(self) -> list[list[Completion]]:
        """Run the samples, and return their completions, [prompt or gap][sample]."""
        return await self._model._afinish_many(self.rows, progress=False)

    def stream(self) -> AsyncGenerator[tuple[int, int, Piece], None]:
        """Run the samples, and yield their pieces: see `AsyncRequests.astream_many`."""
        return self._model._apieces_of_many(self.rows)
