"""What of a text stands in the index that the server was started with: in answers, and POST /attribute."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from santacoder.decoding.results import Completion
from santacoder.server.errors import bad_request
from santacoder.server.exchange import JSONResponse, read_body, tally_of
from santacoder.server.fields import Fields
from santacoder.server.service import Service
from santacoder.server.settings import LEAST_MATCH, Settings

if TYPE_CHECKING:
    from santacoder.attribution.matches import Match

MOST_CHARACTERS: Final = 256 << 10  # of a text to check, which is a tenth of a second of work
MOST_LEXEMES: Final = (1 << 31) - 1


def matches_member(completion: Completion | None) -> dict[str, Any]:
    """Return the member of an answer that lists the matches of its text; none without an index, and before its end."""
    if completion is None or completion.attribution is None:
        return {}
    return {"attribution": match_list(completion.attribution)}


def match_list(matches: Iterable[Match]) -> list[dict[str, Any]]:
    """Return matches as JSON has them."""
    return [asdict(match) for match in matches]


async def attribute(request: Request) -> Response:
    """Answer POST /attribute."""
    service: Service = request.app.state.service
    tally_of(request).endpoint = "attribute"
    fields = Fields(await read_body(request, service.settings.max_body))
    text = fields.text("text", None)
    if text is None:
        raise bad_request("text is missing: it must be a text", "text")
    if len(text) > MOST_CHARACTERS:
        raise bad_request(f"text has {len(text)} characters, but {MOST_CHARACTERS} are the most", "text")
    least = fields.integer("min_length", LEAST_MATCH, MOST_LEXEMES, service.settings.match_length)
    index = service.checks
    assert index is not None
    with service.at_work():
        found = await asyncio.to_thread(index.find, text, least)
    ignored = fields.ignored()
    headers = {"x-santacoder-ignored": ignored} if ignored else {}
    return JSONResponse({"matches": match_list(found)}, headers=headers)


def routes(settings: Settings) -> list[Route]:
    """Return the routes that the settings ask for."""
    return [] if settings.attribution is None else [Route("/attribute", attribute, methods=["POST"])]
