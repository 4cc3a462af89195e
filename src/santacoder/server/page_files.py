"""The page for people: files of the package that are served as they are."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from importlib.resources import files
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from santacoder.server.exchange import tally_of

#: Path -> file of the folder "page", and its type.
PAGE: Final = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
}
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)


def page_routes() -> list[Route]:
    """Return the routes of the page, whose files are read now; none where the installation lacks them."""
    folder = files("santacoder.server") / "page"
    found = []
    for path, (name, kind) in PAGE.items():
        file = folder / name
        if file.is_file():
            found.append(Route(path, _serve(file.read_bytes(), kind), methods=["GET"]))
    return found


def _serve(data: bytes, kind: str) -> Callable[[Request], Awaitable[Response]]:
    async def serve(request: Request) -> Response:
        tally_of(request).endpoint = "page"
        headers = {"content-security-policy": POLICY, "referrer-policy": "no-referrer"}
        return Response(data, media_type=kind, headers=headers)

    return serve
