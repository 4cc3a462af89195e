"""What all endpoints share: the model and whether it can answer, the settings, and the requests that are at work."""

from __future__ import annotations

import asyncio
import contextlib
import math
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal

from santacoder._version import __version__
from santacoder.attribution.index import AttributionIndex
from santacoder.decoding.options import OPTIONS, SamplingParams
from santacoder.decoding.sequence import Sequence
from santacoder.gguf.config import expected_tensors
from santacoder.gguf.sampling_defaults import SAMPLING_KEYS
from santacoder.model import SantaCoder
from santacoder.server.admission import Admission
from santacoder.server.errors import shutting_down, unavailable
from santacoder.server.interrupt import Interrupt
from santacoder.server.log import log
from santacoder.server.metrics import Metrics
from santacoder.server.settings import Settings

State = Literal["loading", "ready", "stopping", "failed"]

STALLED: Final = 30.0  # seconds without a step while work is waiting


class Service:
    """One model and what is known of it.

    Attributes:
        settings: what the server was started with.
        metrics: counts of requests.
        admission: who may wait.
        state: whether it can answer.
        file: the file that the model was loaded from, or None.
        failure: why loading the model failed.
        name: the model's name in answers.
        fingerprint: equal ones give equal bytes.
        created: when the model was loaded, in seconds since 1970.
        on_failure: called when loading failed; unless it is set, the log gets the reason.
        on_ready: called when the model is there.
        connections: tells how many are open.
        index_options: keywords of `SantaCoder.complete` that look up what is generated, if there is an index.
        checks: the index again, for texts of clients, or None: a long one must not keep the model waiting.
        samples: of requests that are at work, by their numbers, the oldest first.
    """

    def __init__(self, source: SantaCoder | Callable[[], SantaCoder], settings: Settings) -> None:
        """Open the index, and begin with a model or with nothing.

        Raises:
            AttributionIndexError, InvalidRequestError, OSError: the index cannot be used.
        """
        self.settings: Final = settings
        self.index_options: Final = _index_options(settings)
        self.checks = None if settings.attribution is None else AttributionIndex.open(settings.attribution)
        self.metrics: Final = Metrics()
        self.admission: Final = Admission()
        self.state: State = "loading"
        self.failure: BaseException | None = None
        self.created = int(time.time())
        self.file = settings.model_file
        self.license: str | None = None
        self.on_failure: Callable[[], object] = self._log_failure
        self.on_ready: Callable[[], object] = lambda: None
        self.connections: Callable[[], int] = lambda: 0
        self.samples: dict[int, list[Sequence]] = {}
        self._digest = ""
        self._source = source
        self._model: SantaCoder | None = None
        self._owns_model = not isinstance(source, SantaCoder)
        self._active: dict[Interrupt, None] = {}
        if isinstance(source, SantaCoder):
            self._use(source)

    @property
    def model(self) -> SantaCoder:
        """The model.

        Raises:
            ApiError: it is not loaded, or the server was told to stop.
        """
        if self.state == "stopping":
            raise shutting_down()
        if self.state == "failed":
            raise unavailable("the model could not be loaded", "load_failed", 60)
        if self._model is None:
            raise unavailable("the model is being loaded", "loading", 5)
        return self._model

    @property
    def name(self) -> str:
        """The model's name in answers."""
        return self.settings.alias or (Path(self.file).stem if self.file else "") or "santacoder"

    @property
    def sampling_defaults(self) -> dict[str, Any]:
        """The sampling options of requests that do not say: the server's settings, the file's, the library's."""
        settings = {"temperature": self.settings.temperature, "top_p": self.settings.top_p}
        return {
            **{name: OPTIONS[name].default for name in SAMPLING_KEYS},
            **self.model.config.sampling_defaults,
            **{name: value for name, value in settings.items() if value is not None},
        }

    @property
    def fingerprint(self) -> str:
        """The version and the digest of the weights: equal ones give equal bytes."""
        return f"santacoder-{__version__}-{self._digest}"

    def check_health(self) -> None:
        """Raise ApiError if the server cannot answer."""
        counters = self.model.counters()
        if counters.stalled_seconds > STALLED:
            raise unavailable(f"no step of the model has run for {counters.stalled_seconds:.0f} seconds", "stalled", 5)

    async def load(self) -> None:
        """Load the model in a thread, if there is none yet; a failure is kept, and told to `on_failure`."""
        if self._model is None and not isinstance(self._source, SantaCoder):
            try:
                await _in_thread(self._source, self._use)
            except Exception as error:
                self.state, self.failure = "failed", error
                self.on_failure()
                return
        self.on_ready()

    def _log_failure(self) -> None:
        log.error("the model could not be loaded: %s", self.failure)

    def _use(self, model: SantaCoder) -> None:
        if self.file is None:
            self._digest = secrets.token_hex(8)  # of weights that are unknown, and equal to none
        else:
            self._digest, self.license = _digest(self.file), _license(self.file)
        settings = self.settings
        self._limits = model.limits
        model.limits = replace(
            model.limits,
            max_running=settings.max_running,
            max_waiting=settings.max_queue,
            queue_timeout=settings.queue_timeout,
        )
        self._model = model
        self.created = int(time.time())
        if self.state == "loading":
            self.state = "ready"

    def describe(self) -> dict[str, object]:
        """Return the model's entry in the list of models."""
        model = self.model
        shapes = expected_tensors(model.config).values()
        meta = {
            "n_vocab": model.config.vocab_size,
            "n_ctx_train": model.config.context_length,
            "n_embd": model.config.embedding_length,
            "n_params": sum(math.prod(shape) for shape in shapes),
            "size": model.weights_bytes,
            "license": self.license,
        }
        return {"id": self.name, "object": "model", "created": self.created, "owned_by": "santacoder", "meta": meta}

    def slots(self) -> Iterator[dict[str, object]]:
        """Yield what llama.cpp says of each sample that is being written; no texts."""
        context = self.model.context
        running = [(task, sample) for task, row in self.samples.items() for sample in row if sample.is_running]
        for number, (task, sample) in enumerate(running):
            most, usage = sample.request.params.max_tokens, sample.usage
            token = {
                "has_next_token": True,
                "has_new_line": any("\n" in piece.text for piece in (*sample.pieces,)),
                "n_remain": max(most - usage.completion_tokens, 0),
                "n_decoded": usage.completion_tokens,
            }
            yield {
                "id": number,
                "id_task": task,
                "n_ctx": context,
                "is_processing": True,
                "speculative": False,
                "params": {"n_predict": most},
                "next_token": [token],
            }

    # The end.

    @contextmanager
    def at_work(self) -> Iterator[Interrupt]:
        """Note that a request is at work; the end of the server may interrupt it."""
        with Interrupt() as interrupt:
            self._active[interrupt] = None
            try:
                yield interrupt
            finally:
                del self._active[interrupt]

    def stop(self) -> None:
        """Take no more requests, and give up those that wait for their turn."""
        self.state = "stopping"
        if self._model is not None:
            self._model.limits = replace(self._model.limits, queue_timeout=0.0)

    def interrupt(self) -> None:
        """End all requests that are at work."""
        for interrupt in (*self._active,):
            interrupt.end(shutting_down())

    async def close(self) -> None:
        """Stop, wait for the requests that are at work, and release the model unless the caller gave it."""
        self.stop()
        end = time.monotonic() + self.settings.drain
        while self._active and time.monotonic() < end:
            await asyncio.sleep(0.05)
        self.interrupt()
        while self._active:
            await asyncio.sleep(0.01)
        for index in (self.index_options.get("attribution"), self.checks):
            if index is not None:
                await asyncio.to_thread(index.close)  # it may wait for a check
        if self._model is not None and self._owns_model:
            self._model.close()
        elif self._model is not None:
            self._model.limits = self._limits


def _index_options(settings: Settings) -> dict[str, Any]:
    """Open the index for what is generated, and check it with the settings."""
    if settings.attribution is None:
        return {}
    index = AttributionIndex.open(settings.attribution)
    options: dict[str, Any] = {
        "attribution": index,
        "on_match": settings.on_match,
        "match_length": settings.match_length,
    }
    try:
        SamplingParams(**options)
    except BaseException:
        index.close()
        raise
    return options


async def _in_thread(source: Callable[[], SantaCoder], use: Callable[[SantaCoder], None]) -> None:
    """Load a model in a thread that does not keep the process from ending."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def work() -> None:
        try:
            use(source())
        except Exception as error:
            finish = partial(done.set_exception, error)
        else:
            finish = partial(done.set_result, None)
        with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
            loop.call_soon_threadsafe(lambda: None if done.done() else finish())

    threading.Thread(target=work, name="santacoder-load", daemon=True).start()
    await done


def _digest(file: str) -> str:
    from santacoder.gguf.digest import model_sha256

    return model_sha256(Path(file))[:16]


def _license(file: str) -> str | None:
    from santacoder.gguf.facts import file_facts

    return file_facts(file).license
