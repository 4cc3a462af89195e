"""The methods of a model for asyncio. A class of their own, since each has the arguments of one without asyncio."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal, overload

from santacoder._util.progress import progress_bar
from santacoder.batching.exclusive_steps import ExclusiveSteps
from santacoder.batching.loop_threads import AsyncRunner
from santacoder.batching.request_stream import OnError, RequestStream
from santacoder.batching.scheduler import Scheduler
from santacoder.decoding.options import SamplingOptions, with_options
from santacoder.decoding.results import Completion, Piece
from santacoder.decoding.sequence import Sequence
from santacoder.engine.transformer import Transformer
from santacoder.errors import SantaCoderError
from santacoder.requests import Prompt, Prompts, Request, each_prompt
from santacoder.scoring.score import Score, score_steps
from santacoder.text.infilling import Mode
from santacoder.text.token_ids import TokenIds

if TYPE_CHECKING:
    from typing_extensions import Unpack


class AsyncRequests:
    """Requests of tasks. They share batches with those of threads; however many tasks wait, two threads serve a loop.

    Each method has the arguments, results and errors of the one without "a". Cancelling the task stops the work, and so
    does closing a generator.
    """

    _scheduler: Scheduler[Transformer]
    _runner: AsyncRunner

    @with_options
    async def acomplete(self, prompt: Prompt, **options: Unpack[SamplingOptions]) -> Completion:
        """Run `complete` for asyncio: other tasks run meanwhile, and cancelling the task stops the work."""
        return await self._afinish(self._continuation(prompt, options))

    @with_options
    async def acomplete_many(
        self,
        prompts: Prompts,
        n: int | None = 1,
        *,
        progress: bool | None = None,
        **options: Unpack[SamplingOptions],
    ) -> list[list[Completion]]:
        """Run `complete_many` for asyncio."""
        return await self._afinish_many(self._samples(prompts, n, options), progress)

    @overload
    def acomplete_each(
        self, requests: Iterable[Request], *, on_error: Literal["raise"] | None = "raise"
    ) -> AsyncGenerator[tuple[int, Completion], None]: ...
    @overload
    def acomplete_each(
        self, requests: Iterable[Request], *, on_error: OnError
    ) -> AsyncGenerator[tuple[int, Completion | SantaCoderError], None]: ...
    def acomplete_each(
        self, requests: Iterable[Request], *, on_error: OnError | None = "raise"
    ) -> AsyncGenerator[Any, None]:
        """Run `complete_each` for asyncio: arguments are checked at once, and requests taken in the loop's thread."""
        return self._each(requests, on_error).run_async(self._runner)

    @with_options
    def astream(self, prompt: Prompt, **options: Unpack[SamplingOptions]) -> AsyncGenerator[Piece, None]:
        """Run `stream` for asyncio: arguments are checked at once. Closing the generator ends the work."""
        return self._apieces(self._continuation(prompt, options))

    @with_options
    def astream_many(
        self, prompts: Prompts, n: int | None = 1, **options: Unpack[SamplingOptions]
    ) -> AsyncGenerator[tuple[int, int, Piece], None]:
        """Continue many prompts, `n` times each, and yield the pieces of all samples as they come.

        Arguments are checked at once, and are those of `complete_many`.

        Yields:
            The index of the prompt, the number of its sample, and a piece; the last one of each sample has a
            `finish_reason`.
        """
        return self._apieces_of_many(self._samples(prompts, n, options))

    @with_options
    async def ainfill(
        self,
        prefix: str,
        suffix: str,
        *,
        mode: Mode | None = "auto",
        single_line: bool | None = False,
        **options: Unpack[SamplingOptions],
    ) -> Completion:
        """Run `infill` for asyncio."""
        return await self._afinish(self._infilling(prefix, suffix, mode, single_line, options))

    @with_options
    def astream_infill(
        self,
        prefix: str,
        suffix: str,
        *,
        mode: Mode | None = "auto",
        single_line: bool | None = False,
        **options: Unpack[SamplingOptions],
    ) -> AsyncGenerator[Piece, None]:
        """Run `stream_infill` for asyncio: arguments are checked at once."""
        return self._apieces(self._infilling(prefix, suffix, mode, single_line, options))

    async def ascore(self, prompt: Prompt) -> Score:
        """Run `score` for asyncio."""
        [score] = await self._runner.work(score_steps(ExclusiveSteps(self._scheduler), [self._scored(prompt)]))
        return score

    async def ascore_many(self, prompts: Prompts, *, progress: bool | None = None) -> list[Score]:
        """Run `score_many` for asyncio."""
        sequences = each_prompt(prompts, self._scored)
        with progress_bar(sum(token_ids.size - 1 for token_ids in sequences), "tokens", progress) as bar:
            return await self._runner.work(score_steps(ExclusiveSteps(self._scheduler), sequences, bar.update))

    async def _afinish_many(self, samples: list[list[Sequence]], progress: bool | None) -> list[list[Completion]]:
        sequences = [*chain.from_iterable(samples)]
        with progress_bar(len(sequences), "samples", progress) as bar:
            await self._runner.finish(sequences, bar.update)
        return [[sequence.completion() for sequence in each] for each in samples]

    async def _afinish(self, sequence: Sequence) -> Completion:
        await self._runner.finish([sequence])
        return sequence.completion()

    async def _apieces(self, sequence: Sequence) -> AsyncGenerator[Piece, None]:
        async with aclosing(self._runner.stream([sequence])) as pieces:
            async for _, piece in pieces:
                yield piece

    async def _apieces_of_many(self, samples: list[list[Sequence]]) -> AsyncGenerator[tuple[int, int, Piece], None]:
        places = {id(sequence): (i, j) for i, row in enumerate(samples) for j, sequence in enumerate(row)}
        async with aclosing(self._runner.stream([*chain.from_iterable(samples)])) as pieces:
            async for sequence, piece in pieces:
                yield *places[id(sequence)], piece

    @abstractmethod
    def _continuation(self, prompt: Prompt, options: SamplingOptions, index: int = 0) -> Sequence: ...
    @abstractmethod
    def _samples(self, prompts: Prompts, n: int | None, options: SamplingOptions) -> list[list[Sequence]]: ...
    @abstractmethod
    def _each(self, requests: Iterable[Request], on_error: OnError | None) -> RequestStream: ...
    @abstractmethod
    def _infilling(
        self, prefix: str, suffix: str, mode: Mode | None, single_line: bool | None, options: SamplingOptions
    ) -> Sequence: ...
    @abstractmethod
    def _scored(self, prompt: Prompt) -> TokenIds: ...
