"""When, where and how fast samples were made: apart from the samples, which are always the same."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from time import perf_counter
from types import TracebackType
from typing import Any

from santacoder._util.json_file import read_json
from santacoder._util.validation import format_value
from santacoder.engine.machine import describe_machine
from santacoder.errors import InvalidRequestError, SantaCoderError
from santacoder.harness.record import RUN_LOG, dump_json


def read_run_log(folder: Path) -> list[dict[str, Any]]:
    """Read the entries in a run's folder, in order.

    Raises:
        OSError: it cannot be read.
        InvalidRequestError: it is damaged.
    """
    path = folder / RUN_LOG
    entries = read_json(path, InvalidRequestError) if path.exists() else []
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise InvalidRequestError(f"{path} is damaged: it holds {format_value(entries)}, not a list of JSON objects")
    return entries


class RunLogEntry:
    """A process's share of a run, added to the folder's sessions.json when it ends, unless it is killed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._samples = self._tokens = 0
        self._begin = perf_counter()
        self._when = datetime.now(timezone.utc).isoformat(timespec="seconds")

    @property
    def seconds(self) -> float:
        """Seconds since the beginning."""
        return perf_counter() - self._begin

    @property
    def tokens_per_second(self) -> float:
        """Generated tokens of finished samples per second."""
        return self._tokens / max(self.seconds, 1e-9)

    def count(self, tokens: int) -> None:
        """Count one more sample."""
        self._samples += 1
        self._tokens += tokens

    def __enter__(self) -> RunLogEntry:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._samples and isinstance(error, SantaCoderError):
            return  # nothing was generated
        entry = {
            "begun": self._when,
            "seconds": round(self.seconds, 3),
            "samples": self._samples,
            "completion_tokens": self._tokens,
            "tokens_per_second": round(self.tokens_per_second, 3),
            "machine": describe_machine(),
        }
        dump_json(self._folder / RUN_LOG, [*read_run_log(self._folder), entry])
