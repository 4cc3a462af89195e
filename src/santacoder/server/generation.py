"""What a request asks of the model, and its samples as they come; the only module of the server that runs the model."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from time import perf_counter
from typing import Any, Final

from starlette.requests import Request

from santacoder.decoding.results import Completion, Piece
from santacoder.errors import QueueTimeoutError, SantaCoderError
from santacoder.model import SantaCoder
from santacoder.server.admission import PLACE, Place
from santacoder.server.errors import bad_request, of_library, shutting_down, unavailable
from santacoder.server.exchange import ClientGoneError, tally_of
from santacoder.server.interrupt import Interrupt
from santacoder.server.prompts import OnePrompt, check_length
from santacoder.server.service import Progress, Service
from santacoder.server.settings import Settings

#: Characters that are tokenized in the loop's thread; longer prompts get a thread of their own.
SHORT: Final = 16384

_TASKS: Final = count()  # numbers of requests


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """What a request asks of the model: `n` samples of each prompt, or of each gap.

    Attributes:
        prompts: texts or lists of ids to continue; none where `gaps` are to be filled.
        gaps: (text before, text after).
        n: samples of each.
        options: keywords of `SantaCoder.complete`.
        infilling: further keywords of `SantaCoder.infill_many`.
    """

    prompts: list[OnePrompt] = field(default_factory=list)
    gaps: list[tuple[str, str]] = field(default_factory=list)
    n: int = 1
    options: dict[str, Any]
    infilling: dict[str, Any] = field(default_factory=dict)

    @property
    def samples(self) -> int:
        """How many samples there are."""
        return (len(self.prompts) + len(self.gaps)) * self.n

    @property
    def is_long(self) -> bool:
        """Whether the loop's thread has other things to do than to tokenize it."""
        texts = sum(len(prompt) for prompt in self.prompts if isinstance(prompt, str))
        return texts + sum(len(before) + len(after) for before, after in self.gaps) > SHORT

    def check(self, service: Service) -> None:
        """Check what needs no tokenizer.

        Raises:
            ApiError: there are too many samples, or a prompt is certainly too long.
        """
        most = service.settings.max_samples
        if self.samples > most:
            raise bad_request(f"the request has {self.samples} samples, but {most} are the most", "n")
        for prompt in self.prompts:
            check_length(prompt, service.model.tokenizer, service.model.context)

    def stream(self, model: SantaCoder) -> AsyncGenerator[tuple[int, int, Piece], None]:
        """Tokenize and check everything, and return the pieces to come."""
        if self.gaps:
            return model.astream_infill_many(self.gaps, self.n, **self.infilling, **self.options)
        return model.astream_many(self.prompts, self.n, **self.options)

    async def finish(self, model: SantaCoder) -> list[list[Completion]]:
        """Return the completions, [prompt or gap][sample]: with less work than all pieces take."""
        if self.gaps:
            return await model.ainfill_many(self.gaps, self.n, progress=False, **self.infilling, **self.options)
        return await model.acomplete_many(self.prompts, self.n, progress=False, **self.options)


def deadline(request: Request, settings: Settings) -> float:
    """Return the seconds after which a request gets its text so far: its header x-request-timeout-ms may want fewer.

    Raises:
        ApiError: the header is not a number of milliseconds.
    """
    name = "x-request-timeout-ms"
    given = request.headers.get(name)
    if given is None:
        return settings.request_timeout
    if not given.isascii() or not given.isdecimal() or len(given) > 12:
        raise bad_request(f"{name} is {ascii(given)[:40]}, but it must be an integer of 0 or more", name)
    return min(int(given) / 1e3, settings.request_timeout)


@asynccontextmanager
async def _running(service: Service, request: Request, ask: Ask, interrupt: Interrupt) -> AsyncIterator[Work]:
    """Run the block for a request: check the request, end the block if the client leaves, and translate its errors."""
    watch = asyncio.ensure_future(_watch(request, interrupt))
    work = Work(service, request, ask)
    try:
        ask.check(service)
        work.place.claim(ask.samples)
        yield work
    except QueueTimeoutError as error:
        if service.state == "stopping":
            raise shutting_down() from None
        raise unavailable(str(error), "queue_timeout", 30) from None
    except SantaCoderError as error:
        if of_library(error).status == 500:
            raise
        raise of_library(error) from None
    finally:
        watch.cancel()
        work.end()


class Work:
    """A request that is at work: what is known of it so far.

    Attributes:
        model: the model.
        place: to be left right before its samples are queued.
    """

    def __init__(self, service: Service, request: Request, ask: Ask) -> None:
        self.model = service.model
        self.place: Place = request.scope[PLACE]
        self._service = service
        self._tally = tally_of(request)
        self._task = next(_TASKS)
        most = ask.options["max_tokens"]
        self._progress = {(self._task, index): Progress(most) for index in range(ask.samples)}
        service.progress.update(self._progress)

    def note(self, index: int, first: bool, piece: Piece) -> None:
        """Note a piece of sample `index`, which is the `first` of its prompt or another."""
        if piece.tokens or piece.text:
            self._tally.note_first(perf_counter() - self._tally.began)
        progress = self._progress[self._task, index]
        progress.tokens += len(piece.tokens)
        progress.has_line_break |= "\n" in piece.text
        if piece.completion is not None:
            self.note_end(index, first, piece.completion)

    def note_end(self, index: int, first: bool, completion: Completion) -> None:
        """Note that sample `index` has ended."""
        tally, usage, metrics = self._tally, completion.usage, self._service.metrics
        self._service.progress.pop((self._task, index), None)
        metrics.most_tokens = max(metrics.most_tokens, usage.total_tokens)
        tally.note_first(completion.timings.prompt_seconds)
        if first:  # the others share its prompt
            tally.prompt_tokens += usage.prompt_tokens
            tally.cached_tokens += completion.timings.cached_tokens
        tally.generated_tokens += usage.completion_tokens
        if tally.outcome != "deadline":
            tally.outcome = completion.finish_reason

    def end(self) -> None:
        """Forget its samples."""
        for key in self._progress:
            self._service.progress.pop(key, None)


async def pieces(
    service: Service, request: Request, ask: Ask, interrupt: Interrupt
) -> AsyncGenerator[tuple[int, Piece], None]:
    """Run what a request asks for, and yield each piece with the index of its sample.

    Raises:
        ApiError: the request is wrong, there is no room for it, or the model failed.
        ClientGoneError: the client closed its connection.
    """
    async with _running(service, request, ask, interrupt) as work:
        stream = await asyncio.to_thread(ask.stream, work.model) if ask.is_long else ask.stream(work.model)
        work.place.leave()
        async with aclosing(stream):
            async for prompt, sample, piece in stream:
                index = prompt * ask.n + sample
                work.note(index, sample == 0, piece)
                yield index, piece


async def completions(service: Service, request: Request, ask: Ask) -> list[Completion]:
    """Run what a request asks for, and return its completions in the order of their indices.

    Raises:
        ApiError, ClientGoneError: as `pieces`.
    """
    with service.at_work() as interrupt:
        if ask.is_long:  # a stream can be tokenized in a thread
            found: dict[int, Completion] = {}
            async with aclosing(pieces(service, request, ask, interrupt)) as stream:
                async for index, piece in stream:
                    if piece.completion is not None:
                        found[index] = piece.completion
            return [found[index] for index in range(ask.samples)]
        async with _running(service, request, ask, interrupt) as work:
            work.place.leave()
            rows = await ask.finish(work.model)
            samples = [each for row in rows for each in row]
            for index, completion in enumerate(samples):
                work.note_end(index, index % ask.n == 0, completion)
            return samples


async def _watch(request: Request, interrupt: Interrupt) -> None:
    """End a request's work when its client closes the connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
    interrupt.end(ClientGoneError())
