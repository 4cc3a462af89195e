"""The application: all endpoints of one model, for any ASGI server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import NoReturn

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request

from santacoder.model import SantaCoder
from santacoder.server import attribution, llama_cpp, openai, page_files, status, tokenizing
from santacoder.server.errors import ApiError
from santacoder.server.exchange import Exchange
from santacoder.server.gate import Gate
from santacoder.server.service import Service
from santacoder.server.settings import Settings

#: Endpoints that clients look for, and why they are not here.
_ELSEWHERE = {
    "/v1/chat/completions": "this is not a chat model; POST /v1/completions continues and infills texts",
    "/attribute": "the server was started without --attribution",
    "/v1/embeddings": "this model has no embeddings; POST /v1/completions continues and infills texts",
}


def create_app(model_or_loader: SantaCoder | Callable[[], SantaCoder], settings: Settings | None = None) -> Starlette:
    """Make the ASGI application that serves a model over HTTP.

    Args:
        model_or_loader: the model, which stays the caller's to close; or a function that loads one: it is called in a
            thread when the server starts, and until it returns the application answers 503.
        settings: None takes the default of each.

    Returns:
        The application; `app.state.service` is what its endpoints share.

    Raises:
        AttributionIndexError, InvalidRequestError, OSError: the index of the settings cannot be used.
    """
    settings = settings or Settings()
    service = Service(model_or_loader, settings)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        loading = asyncio.ensure_future(service.load())
        yield
        await service.close()
        loading.cancel()

    app = Starlette(
        routes=[
            *openai.ROUTES,
            *llama_cpp.ROUTES,
            *tokenizing.ROUTES,
            *attribution.routes(settings),
            *status.routes(settings),
            *(page_files.page_routes() if settings.page else []),
        ],
        middleware=[Middleware(Exchange, metrics=service.metrics), Middleware(Gate, settings=settings)],
        exception_handlers={HTTPException: _refuse},  # type: ignore[dict-item]
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    app.state.service = service
    return app


async def _refuse(request: Request, error: HTTPException) -> NoReturn:
    """Raise the error for a path or a method that is not there."""
    path, method = request.scope["path"], request.method
    if error.status_code == 405:
        message = f"{ascii(method)[:40]} is not a method of {ascii(path)[:80]}"
        raise ApiError(405, message, code="method_not_allowed", headers=error.headers or {})
    told = _ELSEWHERE.get(path, "the server has no such endpoint")
    raise ApiError(404, f"{ascii(path)[:80]} is not found: {told}", code="not_found")
