"""One engine in a process of its own: reads a measurement per line of standard input, answers with seconds per token.

`compare.py` starts one for each engine and lets them take turns, so that nothing of one engine (threads that spin, say)
runs while another is measured.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any


def open_engine(name: str, model: str, threads: int) -> tuple[Any, dict[str, str]]:
    """An engine by name, and its versions."""
    if name == "llama.cpp":
        import llama_cpp_peer

        return llama_cpp_peer.LlamaCpp(model, threads), llama_cpp_peer.versions()
    import santacoder_peer

    return santacoder_peer.SantaCoderPeer(model, threads), santacoder_peer.versions()


def measure(engine: Any, work: str, length: int, depth: int) -> float:
    """Seconds per token."""
    if work == "prompt":
        return float(engine.prefill(engine.random_tokens(length)) / length)
    return float(engine.decode(length, depth))


def main() -> None:
    """Serve until standard input ends."""
    parser = argparse.ArgumentParser(description="Measure one engine on request.")
    parser.add_argument("engine", choices=["santacoder", "llama.cpp"])
    parser.add_argument("model")
    parser.add_argument("--threads", type=int, required=True)
    arguments = parser.parse_args()
    engine, versions = open_engine(arguments.engine, arguments.model, arguments.threads)
    engine.decode(4, depth=32)  # warm up: page in the weights
    print(json.dumps(versions), flush=True)
    for line in sys.stdin:
        print(measure(engine, **json.loads(line)), flush=True)


if __name__ == "__main__":
    main()
