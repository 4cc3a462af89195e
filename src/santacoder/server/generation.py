"""What a request asks of the model, and its samples as they come; the only module of the server that runs the model."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final, cast

from starlette.requests import Request

from santacoder.batching.infill_requests import GapForm
from santacoder.batching.prepared import Prepared
from santacoder.decoding.answers import CLIENT
from santacoder.decoding.results import Completion, Piece
from santacoder.decoding.sequence import Sequence
from santacoder.errors import QueueTimeoutError, SantaCoderError
from santacoder.model import SantaCoder
from santacoder.server.admission import PLACE, Place
from santacoder.server.errors import bad_request, of_library, shutting_down, unavailable
from santacoder.server.exchange import ClientGoneError, tally_of
from santacoder.server.interrupt import Interrupt
from santacoder.server.prompts import OnePrompt, check_length
from santacoder.server.service import Service
from santacoder.server.settings import Settings

if TYPE_CHECKING:
    from santacoder.decoding.options import SamplingOptions

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
    def _is_long(self) -> bool:
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

    async def prepare(self, model: SantaCoder) -> Prepared:
        """Tokenize and check everything: in a thread of its own, if it is long."""
        options = cast("SamplingOptions", self.options)
        if self.gaps:
            work = partial(Prepared.of_gaps, model, self.gaps, self.n, GapForm(**self.infilling), options)
        else:
            work = partial(Prepared.of_prompts, model, self.prompts, self.n, options)
        return await asyncio.to_thread(work) if self._is_long else work()


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
    CLIENT.set(_client(request))
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
        self._ask = ask
        self._task = next(_TASKS)
        self._rows: list[list[Sequence]] = []

    async def begin(self) -> Prepared:
        """Prepare its samples, which the caller queues next."""
        prepared = await self._ask.prepare(self.model)
        self._rows = prepared.rows
        self._service.samples[self._task] = [*prepared]
        self.place.leave(queued=True)
        return prepared

    def note(self, piece: Piece) -> None:
        """Note a piece."""
        if piece.tokens or piece.text:
            self._tally.note_first(perf_counter() - self._tally.began)
        if piece.completion is not None:
            self.note_end(piece.completion)

    def note_end(self, completion: Completion) -> None:
        """Note that a sample has ended."""
        self._tally.note_first(completion.timings.prompt_seconds)
        if self._tally.outcome != "deadline":
            self._tally.outcome = completion.finish_reason

    def end(self) -> None:
        """Count its tokens, also if it was given up, and forget its samples."""
        tally, metrics = self._tally, self._service.metrics
        self._service.samples.pop(self._task, None)
        for row in self._rows:
            tally.prompt_tokens += row[0].usage.prompt_tokens  # the others share it
            tally.cached_tokens += row[0].reused
            for usage in (sample.usage for sample in row):
                tally.generated_tokens += usage.completion_tokens
                metrics.most_tokens = max(metrics.most_tokens, usage.total_tokens)


async def pieces(
    service: Service, request: Request, ask: Ask, interrupt: Interrupt, began: Callable[[Prepared], None]
) -> AsyncGenerator[tuple[int, Piece], None]:
    """Run what a request asks for, and yield each piece with the index of its sample.

    `began` is called with the samples when all is checked.

    Raises:
        ApiError: the request is wrong, there is no room for it, or the model failed.
        ClientGoneError: the client closed its connection.
    """
    async with _running(service, request, ask, interrupt) as work:
        prepared = await work.begin()
        began(prepared)
        async with aclosing(prepared.stream()) as stream:
            async for prompt, sample, piece in stream:
                work.note(piece)
                yield prompt * ask.n + sample, piece


async def completions(
    service: Service, request: Request, ask: Ask, began: Callable[[Prepared], None]
) -> list[Completion]:
    """Run what a request asks for, and return its completions in the order of their indices; `began` as in `pieces`.

    Raises:
        ApiError, ClientGoneError: as `pieces`.
    """
    with service.at_work() as interrupt:
        async with _running(service, request, ask, interrupt) as work:
            prepared = await work.begin()
            began(prepared)
            samples = [each for row in await prepared.finish() for each in row]
            for completion in samples:
                work.note_end(completion)
            return samples


def _client(request: Request) -> tuple[str | None, ...]:
    """Return what tells clients apart: address and key."""
    headers = request.headers
    return request.client.host if request.client else None, headers.get("authorization"), headers.get("x-api-key")


async def _watch(request: Request, interrupt: Interrupt) -> None:
    """End a request's work when its client closes the connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
    interrupt.end(ClientGoneError())
