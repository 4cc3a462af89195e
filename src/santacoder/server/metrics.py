"""Counts of what the server did, and their text for Prometheus."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from time import perf_counter
from typing import Final

#: Upper limits of the histograms' buckets, in seconds.
BUCKETS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)


@dataclass(slots=True)
class Tally:
    """What is known of one request.

    Attributes:
        id: names it in the log, and in the header x-request-id.
        endpoint: its fixed name in the metrics.
        outcome: how it ended: stop, length, deadline, attribution, cancelled, rejected or error; "" where nothing
            was generated.
        status: the HTTP status that was sent, or 0.
        prompt_tokens, cached_tokens, generated_tokens: of all its prompts and samples.
        began: when, by `perf_counter`.
        first_token: seconds to the first text, or None.
    """

    id: str
    endpoint: str = "other"
    outcome: str = ""
    status: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    generated_tokens: int = 0
    began: float = 0.0
    first_token: float | None = None

    def note_first(self, seconds: float) -> None:
        """Note when the first text was there, unless that is known."""
        if self.first_token is None:
            self.first_token = seconds


class Histogram:
    """Counts seconds by their size."""

    def __init__(self) -> None:
        self._counts = [0] * (len(BUCKETS) + 1)
        self._sum = 0.0

    def add(self, seconds: float) -> None:
        """Count one duration."""
        self._counts[bisect_left(BUCKETS, seconds)] += 1
        self._sum += seconds

    def lines(self, name: str) -> Iterator[str]:
        """Yield the samples of a histogram of this name."""
        yield f"# TYPE {name} histogram"
        total = 0
        for limit, count in zip((*map(str, BUCKETS), "+Inf"), self._counts, strict=True):
            total += count
            yield f'{name}_bucket{{le="{limit}"}} {total}'
        yield f"{name}_sum {self._sum:.6f}"
        yield f"{name}_count {total}"


class Metrics:
    """Counts requests by endpoint and outcome, and how long they take."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, str]] = Counter()
        self.first_token = Histogram()
        self.duration = Histogram()
        self.most_tokens = 0  # of a prompt and its completion

    def add(self, tally: Tally) -> None:
        """Count a request that has ended."""
        outcome = tally.outcome or ("rejected" if tally.status >= 400 else "stop")
        self.requests[tally.endpoint, outcome] += 1
        self.duration.add(perf_counter() - tally.began)
        if tally.first_token is not None:
            self.first_token.add(tally.first_token)

    def lines(self) -> Iterator[str]:
        """Yield the samples of what is counted here."""
        yield "# TYPE santacoder_requests_total counter"
        for (endpoint, outcome), count in sorted(self.requests.items()):
            yield f'santacoder_requests_total{{endpoint="{endpoint}",outcome="{outcome}"}} {count}'
        yield from self.first_token.lines("santacoder_time_to_first_token_seconds")
        yield from self.duration.lines("santacoder_request_seconds")


def samples(kind: str, values: Iterable[tuple[str, float]]) -> Iterator[str]:
    """Yield the samples of counters or gauges without labels."""
    for name, value in values:
        yield f"# TYPE {name} {kind}"
        yield f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"
