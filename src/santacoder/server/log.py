"""The log: one line for each request on standard error; never a text, a key, a query string or a header."""

from __future__ import annotations

import logging
import sys
from typing import Final

log: Final = logging.getLogger("santacoder.server")


def write_log(quiet: bool) -> None:
    """Write the log to standard error; if `quiet`, only what failed."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s.%(msecs)03d %(message)s", "%Y-%m-%dT%H:%M:%S"))
    log.handlers[:] = [handler]
    log.propagate = False
    log.setLevel(logging.ERROR if quiet else logging.INFO)
