"""Serve completions over HTTP with FastAPI.

    pip install fastapi uvicorn
    SANTACODER_MODEL=model.gguf uvicorn service:app --app-dir examples

    curl localhost:8000/complete -H 'Content-Type: application/json' -d '{"prompt": "def add(a, b):"}'

Requests that come at the same time share a batch. The work for a stream stops when its client leaves; every other
request ends after ten seconds at most.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel, Field

import santacoder


class Options(BaseModel):
    """The options of a request that clients may set."""

    max_tokens: int = Field(64, ge=1, le=512)
    temperature: float = Field(0.2, ge=0)
    stop: list[str] = []
    seed: int | None = None

    def keywords(self) -> Any:
        """Return them as keywords of `SantaCoder.complete`, with a limit of ten seconds."""
        return {**self.model_dump(include=set(Options.model_fields)), "deadline": 10.0}


class Prompt(Options):
    """A text to continue."""

    prompt: str


class Gap(Options):
    """A gap to fill."""

    prefix: str
    suffix: str


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Load the model once, when the service starts."""
    with santacoder.load(os.environ.get("SANTACODER_MODEL") or None) as model:
        app.state.model = model
        yield


app = FastAPI(lifespan=lifespan)


@app.exception_handler(santacoder.SantaCoderError)
async def refuse(request: Request, error: Exception) -> JSONResponse:
    """Answer a request that cannot be carried out: its error is a sentence made for people."""
    mistakes = (santacoder.InvalidRequestError, santacoder.ContextOverflowError)
    return JSONResponse({"detail": str(error)}, status_code=422 if isinstance(error, mistakes) else 500)


def answer(completion: santacoder.Completion) -> dict[str, object]:
    """Return what clients get."""
    tokens = completion.usage.completion_tokens
    return {"text": completion.text, "finish_reason": completion.finish_reason, "tokens": tokens}


@app.post("/complete")
async def complete(request: Prompt) -> dict[str, object]:
    """Continue a text."""
    return answer(await app.state.model.acomplete(request.prompt, **request.keywords()))


@app.post("/infill")
async def infill(request: Gap) -> dict[str, object]:
    """Fill a gap."""
    if not request.suffix:
        raise HTTPException(422, "the suffix is empty: use /complete")
    return answer(await app.state.model.ainfill(request.prefix, request.suffix, **request.keywords()))


@app.post("/stream")
async def stream(request: Prompt) -> StreamingResponse:
    """Continue a text piece by piece."""
    pieces = app.state.model.astream(request.prompt, **request.keywords())  # wrong arguments are an error here

    async def texts() -> AsyncIterator[str]:
        async for piece in pieces:
            yield piece.text

    return StreamingResponse(texts(), media_type="text/plain")
