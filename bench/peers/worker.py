"""Runs one engine in its own process: reads names of works from standard input, answers in tokens per second.

`engines.py` starts one for each engine and lets them take turns. An idle worker is blocked on its input.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))  # the folder of bench and tests

from bench.peers.workloads import Engine, Work


def open_engine(kind: str, model: str, threads: int) -> Engine:
    """Open an engine by its kind; the packages of other engines need not be installed."""
    if kind == "llama.cpp":
        from bench.peers.llama_cpp_peer import LlamaCpp

        return LlamaCpp(model, threads)
    if kind == "ctranslate2":
        from bench.peers.ctranslate2_peer import CTranslate2

        return CTranslate2(model, threads)
    if kind == "transformers":
        from bench.peers.transformers_peer import Transformers

        return Transformers(model, threads)
    if kind == "openvino":
        from bench.peers.openvino_peer import OpenVINO

        return OpenVINO(model, threads)
    from bench.peers.santacoder_peer import SantaCoderPeer

    return SantaCoderPeer(model, threads)


def main() -> None:
    """Answer until standard input ends."""
    parser = argparse.ArgumentParser(description="Measure one engine on request.")
    parser.add_argument("kind", choices=["santacoder", "llama.cpp", "ctranslate2", "transformers", "openvino"])
    parser.add_argument("model", help="a GGUF file; for other formats a folder of `random_checkpoint.py`")
    parser.add_argument("--threads", type=int, required=True)
    arguments = parser.parse_args()
    engine = open_engine(arguments.kind, arguments.model, arguments.threads)
    engine.warm_up()
    print(json.dumps(engine.versions()), flush=True)
    for line in sys.stdin:
        print(engine.rate(Work.parse(line.strip())), flush=True)


if __name__ == "__main__":
    main()
