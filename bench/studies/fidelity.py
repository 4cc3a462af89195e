"""The cost of quantization: santacoder and llama.cpp on the same quantized file, each against the F32 weights.

    python bench/studies/fidelity.py F32.gguf Q4_K_M.gguf FILES...

The reference logits are santacoder's on the F32 file, which computes in float32 (its KV cache is f16). Each text is
scored in windows as `santacoder eval kl` does it; llama.cpp gets the same tokens and the same windows.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[2]))  # the folder of bench and tests

import santacoder
from bench.peers.llama_cpp_peer import LlamaCpp
from santacoder._util.progress import progress_bar
from santacoder._util.text_file import decode_text
from santacoder.scoring.perplexity import Divergence, LogitSource, check_stride, measure_divergence, text_tokens
from santacoder.text.tokenizer import Tokenizer


class Peer:
    """llama.cpp as a source of logits, with the tokenizer and the context of our model."""

    def __init__(self, path: Path, threads: int, ours: santacoder.SantaCoder) -> None:
        self.context: int = ours.context
        self.tokenizer: Tokenizer = ours.tokenizer
        self.llama = LlamaCpp(path, threads, n_ctx=ours.context)

    def iter_logits(self, prompt: Sequence[int], start: int = 0, piece: int = 256) -> Iterator[NDArray[np.float32]]:
        """See `SantaCoder.iter_logits`; here a whole window is in memory."""
        rows = self.llama.logits(prompt)[start:]
        for first in range(0, len(rows), piece):
            yield rows[first : first + piece]


def measure(model: LogitSource, reference: LogitSource, texts: Sequence[str], stride: int) -> Divergence:
    """Measure the divergence over all texts together."""
    with progress_bar(sum(len(text_tokens(reference.tokenizer, text)) - 1 for text in texts), "tokens") as bar:
        return Divergence.total(
            [measure_divergence(model, reference, text, stride, progress=bar.update) for text in texts]
        )


def report(divergence: Divergence) -> dict[str, Any]:
    """Return the figures for JSON."""
    return {
        "mean_kl": divergence.mean_kl,
        "perplexity": divergence.perplexity,
        "perplexity_ratio": divergence.perplexity_ratio,
        "top1_agreement": divergence.top1_agreement,
    }


def table(results: dict[str, Any]) -> str:
    """Return a Markdown table with a row for each engine."""
    lines = ["| engine | mean KL (nats) | perplexity | perplexity ratio | top-1 agreement |", "|---|---|---|---|---|"]
    for name, row in results["engines"].items():
        figures = f"{row['mean_kl']:.6f} | {row['perplexity']:.4f} | {row['perplexity_ratio']:.5f}"
        lines.append(f"| {name} | {figures} | {row['top1_agreement']:.2%} |")
    return "\n".join(lines)


def main() -> None:
    """Measure both engines, and print a table."""
    parser = argparse.ArgumentParser(description="The cost of quantization in santacoder and in llama.cpp.")
    parser.add_argument("reference", type=Path, help="the F32 file")
    parser.add_argument("model", type=Path, help="the quantized file of the same model")
    parser.add_argument("files", type=Path, nargs="+", help="texts in UTF-8")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--context", type=int, help="positions to use (default: all)")
    parser.add_argument("--stride", type=int, help="tokens that each window scores (default: half of the context)")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write the results there too")
    arguments = parser.parse_args()
    texts = [decode_text(path.read_bytes(), path) for path in arguments.files]
    reference = santacoder.load(arguments.reference, arguments.threads, arguments.context)
    ours = santacoder.load(arguments.model, arguments.threads, arguments.context)
    stride = check_stride(arguments.stride, ours.context)
    peer = Peer(arguments.model, arguments.threads, ours)
    with reference, ours, peer.llama:
        found = {
            "santacoder": measure(ours, reference, texts, stride),
            "llama.cpp": measure(peer, reference, texts, stride),
        }
        settings = {"context": ours.context, "stride": stride, "isa": ours.isa, "llama.cpp": peer.llama.versions()}
    results = {
        "reference": arguments.reference.name,
        "model": arguments.model.name,
        **settings,
        "files": len(texts),
        "tokens": found["santacoder"].n_tokens,
        "engines": {name: report(divergence) for name, divergence in found.items()},
    }
    print(f"{results['model']} against {results['reference']}: {results['tokens']} tokens of {len(texts)} files\n")
    print(table(results))
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
