"""One engine in a process of its own: reads the names of works from standard input, answers in tokens per second.

`engines.py` starts one for each engine and lets them take turns. A worker that waits is blocked on its input.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))  # where bench and tests are

from bench.peers.works import Engine, Work


def open_engine(kind: str, model: str, threads: int) -> Engine:
    """An engine by its kind; the packages of the others need not be there."""
    if kind == "llama.cpp":
        from bench.peers.llama_cpp_peer import LlamaCpp

        return LlamaCpp(model, threads)
    if kind == "ctranslate2":
        from bench.peers.ctranslate2_peer import CTranslate2

        return CTranslate2(model, threads)
    if kind == "transformers":
        from bench.peers.transformers_peer import Transformers

        return Transformers(model, threads)
    from bench.peers.santacoder_peer import SantaCoderPeer

    return SantaCoderPeer(model, threads)


def main() -> None:
    """Serve until standard input ends."""
    parser = argparse.ArgumentParser(description="Measure one engine on request.")
    parser.add_argument("kind", choices=["santacoder", "llama.cpp", "ctranslate2", "transformers"])
    parser.add_argument("model", help="a GGUF file; a folder of `random_checkpoint.py` for those that read none")
    parser.add_argument("--threads", type=int, required=True)
    arguments = parser.parse_args()
    engine = open_engine(arguments.kind, arguments.model, arguments.threads)
    engine.warm_up()
    print(json.dumps(engine.versions()), flush=True)
    for line in sys.stdin:
        print(engine.rate(Work.parse(line.strip())), flush=True)


if __name__ == "__main__":
    main()
