"""How the server is: /health, /props, /slots and /metrics; and /openapi.json, what it can be asked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from santacoder._version import __version__
from santacoder.server.errors import unavailable
from santacoder.server.exchange import JSONResponse, tally_of
from santacoder.server.metrics import samples
from santacoder.server.openapi import describe
from santacoder.server.service import Service
from santacoder.server.settings import Settings


def _service(request: Request, endpoint: str) -> Service:
    tally_of(request).endpoint = endpoint
    service: Service = request.app.state.service
    return service


async def health(request: Request) -> Response:
    """Answer GET /health."""
    _service(request, "health").check_health()
    return JSONResponse({"status": "ok"})


async def props(request: Request) -> Response:
    """Answer GET /props."""
    service = _service(request, "props")
    settings, context = service.settings, service.model.context
    defaults = service.sampling_defaults
    params = {"n_predict": -1, "repeat_penalty": defaults.pop("repetition_penalty"), **defaults}
    return JSONResponse(
        {
            "default_generation_settings": {"n_ctx": context, "params": params},
            "total_slots": settings.max_running,
            "model_path": Path(service.file or service.name).name,
            "model_alias": service.name,
            "chat_template": "",
            "modalities": {"vision": False, "audio": False},
            "build_info": f"santacoder-{__version__}",
            "is_sleeping": False,
            "attribution": _attribution(service),
        }
    )


def _attribution(service: Service) -> dict[str, object] | None:
    """Return how texts are looked up, and in how much; None if they are not. Not where the index is."""
    if service.checks is None:
        return None
    settings, state = service.settings, service.checks.state()
    return {
        "on_match": settings.on_match,
        "match_length": settings.match_length,
        "guarantee": state.exact.guarantee,
        "files": state.files,
        "size": state.size,
    }


async def slots(request: Request) -> Response:
    """Answer GET /slots."""
    service = _service(request, "slots")
    counters = service.model.counters()
    most = service.settings.max_running
    if request.query_params.get("fail_on_no_slot") == "1" and counters.running >= most:
        raise unavailable(f"all {most} places of the batch are taken", "no_slot", 1)
    return JSONResponse([*service.slots()])


async def metrics(request: Request) -> Response:
    """Answer GET /metrics."""
    service = _service(request, "metrics")
    lines = [*service.metrics.lines(), *_model_lines(service)]
    return Response("\n".join(lines) + "\n", media_type="text/plain; version=0.0.4; charset=utf-8")


def _model_lines(service: Service) -> Iterator[str]:
    model, counters = service.model, service.model.counters()
    ours: dict[str, float] = {
        "prompt_tokens_total": counters.prompt_tokens,
        "prompt_tokens_cached_total": counters.cached_tokens,
        "prompt_seconds_total": counters.prompt_seconds,
        "generated_tokens_total": counters.generated_tokens,
        "generated_seconds_total": counters.generated_seconds,
        "steps_total": counters.steps,
    }
    yield from samples("counter", ((f"santacoder_{name}", value) for name, value in ours.items()))
    gauges: dict[str, float] = {
        "samples_running": counters.running,
        "samples_waiting": counters.waiting,
        "connections": service.connections(),
        "cache_bytes": counters.cache_bytes,
    }
    yield from samples("gauge", ((f"santacoder_{name}", value) for name, value in gauges.items()))
    yield "# TYPE santacoder_build_info gauge"
    yield f'santacoder_build_info{{version="{__version__}",isa="{model.isa}"}} 1'
    theirs: dict[str, float] = {
        "prompt_tokens_total": counters.prompt_tokens,
        "prompt_seconds_total": counters.prompt_seconds,
        "tokens_predicted_total": counters.generated_tokens,
        "tokens_predicted_seconds_total": counters.generated_seconds,
        "n_decode_total": counters.steps,
        "n_tokens_max": service.metrics.most_tokens,
    }
    yield from samples("counter", ((f"llamacpp:{name}", value) for name, value in theirs.items()))
    speeds: dict[str, float] = {
        "prompt_tokens_seconds": _ratio(counters.prompt_tokens, counters.prompt_seconds),
        "predicted_tokens_seconds": _ratio(counters.generated_tokens, counters.generated_seconds),
        "requests_processing": counters.running,
        "requests_deferred": counters.waiting,
        "n_busy_slots_per_decode": _ratio(counters.generated_tokens, counters.steps),
    }
    yield from samples("gauge", ((f"llamacpp:{name}", value) for name, value in speeds.items()))


def _ratio(value: float, by: float) -> float:
    return value / by if by else 0.0


async def openapi(request: Request) -> Response:
    """Answer GET /openapi.json."""
    return JSONResponse(describe(_service(request, "openapi").settings))


def routes(settings: Settings) -> list[Any]:
    """Return the routes that the settings ask for."""
    found = [
        Route("/health", health, methods=["GET"]),
        Route("/v1/health", health, methods=["GET"]),
        Route("/props", props, methods=["GET"]),
        Route("/openapi.json", openapi, methods=["GET"]),
    ]
    if settings.slots:
        found.append(Route("/slots", slots, methods=["GET"]))
    if settings.metrics:
        found.append(Route("/metrics", metrics, methods=["GET"]))
    return found
