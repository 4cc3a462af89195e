"""Ask a server for completions over HTTP, with nothing but the standard library.

    santacoder serve
    python examples/http_client.py [http://127.0.0.1:8012]

The key of a server that has one is read from $SANTACODER_API_KEY.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen


class Client:
    """A server and its key."""

    def __init__(self, url: str, key: str | None = None) -> None:
        self.url = url.rstrip("/")
        self.headers = {"Content-Type": "application/json"}
        if key:
            self.headers["Authorization"] = f"Bearer {key}"

    def complete(self, prompt: str, **fields: object) -> list[str]:
        """Return the texts of all samples."""
        with self._post("/v1/completions", {"prompt": prompt, **fields}) as response:
            return [choice["text"] for choice in json.load(response)["choices"]]

    def stream(self, prompt: str, **fields: object) -> Iterator[str]:
        """Yield the pieces of one text as they come. Closing the generator ends the work of the server, too."""
        with self._post("/v1/completions", {"prompt": prompt, "stream": True, **fields}) as response:
            for line in response:
                event = line.decode().strip().removeprefix("data: ")
                if event == "[DONE]":
                    return
                if event.startswith("{"):  # and not a sign of life in between
                    message = json.loads(event)
                    if "error" in message:
                        raise RuntimeError(message["error"]["message"])
                    yield message["choices"][0]["text"]

    def infill(self, prefix: str, suffix: str, **fields: object) -> str:
        """Return what belongs between two texts."""
        [text] = self.complete(prefix, suffix=suffix, **fields)
        return text

    def _post(self, path: str, body: dict[str, object]) -> Any:
        try:
            return urlopen(Request(self.url + path, json.dumps(body).encode(), self.headers))
        except HTTPError as error:
            with error:
                raise RuntimeError(json.load(error)["error"]["message"]) from None


def main() -> None:
    """Complete, stream, fill a gap, and show an error."""
    url = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8012"
    client = Client(url, os.environ.get("SANTACODER_API_KEY"))
    print(client.complete("def add(a, b):", max_tokens=32, temperature=0))
    for piece in client.stream("def add(a, b):", max_tokens=32, temperature=0):
        print(piece, end="", flush=True)
    before, after = "import os\n\n\ndef names(folder):\n    for name in os.listdir(", "):\n        yield name\n"
    print(f"os.listdir({client.infill(before, after, max_tokens=16, temperature=0)})")
    samples = client.complete("def add(a, b):", max_tokens=16, n=4, seed=1, temperature=0.8)
    print("the same samples with the same seed:", samples == client.complete(
        "def add(a, b):", max_tokens=16, n=4, seed=1, temperature=0.8
    ))  # fmt: skip
    try:
        client.complete("def add(a, b):", temperature=-1)
    except RuntimeError as error:
        print(error)


if __name__ == "__main__":
    main()
