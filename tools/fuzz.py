"""Coverage-guided fuzzing: `python tools/fuzz.py reader|tokenizer|session|checkpoint|lexemes|attribution --seconds 60`.

Needs atheris (`pip install '.[fuzz]'`); for checkpoints also safetensors (PyTorch's files are tried if torch is
installed); and `tests` on the path beside the package, which `make fuzz` arranges. Findings are written to
build/fuzz/NAME; keep them in tests/data/fuzz/NAME, where pytest replays them.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["santacoder"]):
    from tests.support import fuzz_targets

ROOT = Path(__file__).parents[1]


def main() -> None:
    """Fuzz one target for a while; the exit status is not 0 if something was found."""
    parser = argparse.ArgumentParser(description="Coverage-guided fuzzing of the code that reads files.")
    parser.add_argument("target", choices=fuzz_targets.TARGETS)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    corpus = ROOT / "build" / "fuzz" / arguments.target
    corpus.mkdir(parents=True, exist_ok=True)
    kept = ROOT / "tests" / "data" / "fuzz" / arguments.target
    for data in [*fuzz_targets.seeds(arguments.target), *(path.read_bytes() for path in kept.glob("*"))]:
        (corpus / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)
    options = {
        "max_total_time": arguments.seconds, "seed": arguments.seed, "timeout": 5, "rss_limit_mb": 4096,
        "max_len": 16384, "artifact_prefix": f"{corpus}-", "print_final_stats": 1, "verbosity": 0,
    }  # fmt: skip
    flags = [f"-{name}={value}" for name, value in options.items()]
    atheris.Setup([sys.argv[0], *flags, str(corpus)], fuzz_targets.TARGETS[arguments.target])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
