"""Does any request that the OpenAPI document describes, or nearly describes, make the server fail?

    pip install schemathesis
    python bench/soak/openapi_cases.py packaged --cases 5000

Schemathesis makes the requests from the document that the server gives, good and bad ones; no answer may be a 5xx. It
tells how to repeat those that failed. The exit status is 1 if one did, or if there were fewer cases than asked for.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))  # the folder of bench and tests

from bench.studies.server_clients import Served, serving
from santacoder.sources.packaged import packaged_model

LIMITS = ("--threads", "1", "--request-timeout", "0.1")  # of the server: texts are of no interest here
ROUND = 100  # cases of each endpoint in one run


def runs(served: Served, seed: int) -> Iterator[tuple[int, int]]:
    """Run Schemathesis again and again, and yield the number of requests of each run, and its exit status."""
    while True:
        before = requests(served)
        command = [sys.executable, "-m", "schemathesis.cli", "run", f"http://127.0.0.1:{served.port}/openapi.json"]
        options = ["--phases", "coverage,fuzzing", "--checks", "not_a_server_error", "--generation-database", "none"]
        counts = ["--max-examples", str(ROUND), "--seed", str(seed)]
        status = subprocess.run([*command, *options, *counts, "--no-color"], check=False).returncode
        yield requests(served) - before, status
        seed += 1


def requests(served: Served) -> int:
    """Return how many requests the server has answered."""
    return int(sum(value for name, value in served.metrics().items() if re.match("santacoder_requests_total", name)))


def main() -> None:
    """Run as many cases as asked for, or until one fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help='a GGUF file, or "packaged"')
    parser.add_argument("--cases", type=int, default=5000, help="requests at least (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    done = 0
    with serving(packaged_model() if arguments.model == "packaged" else arguments.model, *LIMITS) as served:
        for count, status in runs(served, arguments.seed):
            done += count
            print(f"{done} requests, status {status}", flush=True)
            if status or not count or done >= arguments.cases:
                break
        metrics = served.metrics()
    errors = sum(value for name, value in metrics.items() if 'outcome="error"' in name)
    print(f"{done} requests, {errors:.0f} errors of the server")
    sys.exit(status or bool(errors) or done < arguments.cases)


if __name__ == "__main__":
    main()
