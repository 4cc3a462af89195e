"""Our quantizer compared with llama.cpp's: errors, their effect on a model, and speed.

    python bench/studies/quantization.py errors F32.gguf  squared errors on random and on trained weights
    python bench/studies/quantization.py files F32.gguf TEXT... --calibrate CODE...  KL divergence of each one's files
    python bench/studies/quantization.py speed F16.gguf  seconds and peak memory for Q4_K_M, in turns

Ratios are ours over llama.cpp's. llama-cpp-python must be installed.
"""

from __future__ import annotations

import argparse
import ctypes
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import gguf
import llama_cpp
import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[2]))  # the folder of bench and tests

import santacoder
from bench.peers import processes
from bench.peers.llama_cpp_peer import quantize_file
from bench.studies.fidelity import measure
from santacoder._util.text_file import decode_text
from santacoder.gguf.reader import GGUFFile
from santacoder.quantize import quantize
from santacoder.quantize.mixes import MIXES
from santacoder.quantize.quantizer import Quantizer
from santacoder.scoring.perplexity import check_stride

TYPES = ("Q4_0", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "Q8_0")
SHAPE = (1024, 2048)  # of random weights

Values = NDArray[np.float32]


def llama_blocks(values: Values, type_name: str) -> NDArray[np.uint8]:
    """Return ggml's blocks for values (rows, columns)."""
    [path] = Path(llama_cpp.__file__).parent.glob("lib/libggml-base.so")
    library = ctypes.CDLL(str(path))
    library.ggml_quantize_chunk.restype = ctypes.c_size_t
    kind = gguf.GGMLQuantizationType[type_name]
    block, size = gguf.GGML_QUANT_SIZES[kind]
    blocks = np.empty(values.size // block * size, np.uint8)
    rows, columns = (ctypes.c_int64(length) for length in values.shape)
    pointers = (ctypes.c_void_p(array.ctypes.data) for array in (values, blocks))
    library.ggml_quantize_chunk(ctypes.c_int(kind), *pointers, ctypes.c_int64(0), rows, columns, None)
    return blocks


def squared_error(values: Values, blocks: NDArray[np.uint8], type_name: str) -> float:
    """Return the sum over all values, with the blocks as the `gguf` package reads them."""
    read = gguf.quants.dequantize(blocks.reshape(len(values), -1), gguf.GGMLQuantizationType[type_name])
    return float(((read.astype(np.float64) - values) ** 2).sum())


def errors(arguments: argparse.Namespace) -> None:
    """Print the squared errors."""
    rng = np.random.default_rng(0)
    kinds: dict[str, list[Values]] = {
        "Gaussian": [rng.standard_normal(SHAPE, np.float32)],
        "heavy-tailed (Student's t, 4)": [rng.standard_t(4, SHAPE).astype(np.float32)],
        arguments.model.name: [],
    }
    with GGUFFile.open(arguments.model) as file:
        for info in file.tensors.values():
            if len(info.shape) == 2 and info.name != "position_embd.weight":
                kinds[arguments.model.name].append(file.data(info).view(np.float32).reshape(info.shape).copy())
    quantizer = Quantizer(arguments.threads)
    print("| weights | type | ours | llama.cpp | ratio |\n|---|---|---|---|---|")
    for name, tensors in kinds.items():
        squares = sum(float((values.astype(np.float64) ** 2).sum()) for values in tensors)
        for kind in TYPES:
            ours = sum(squared_error(values, quantizer.encode(name, values, kind), kind) for values in tensors)
            theirs = sum(squared_error(values, llama_blocks(values, kind), kind) for values in tensors)
            print(f"| {name} | {kind} | {ours / squares:.4e} | {theirs / squares:.4e} | {ours / theirs:.4f} |")


def files(arguments: argparse.Namespace) -> None:
    """Print the mean KL divergence from the model of floats."""
    texts = [decode_text(path.read_bytes(), path) for path in arguments.texts]
    calibration = [decode_text(path.read_bytes(), path) for path in arguments.calibrate]
    print("| type | llama.cpp | ours | ratio | ours, calibrated | ratio to ours |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder, santacoder.load(arguments.model, arguments.threads) as reference:
        for mix in arguments.types:
            paths = [Path(folder, name) for name in ("llama.gguf", "ours.gguf", "calibrated.gguf")]
            quantize_file(arguments.model, paths[0], MIXES[mix].file_type)
            quantize(arguments.model, paths[1], mix, force=True)
            quantize(arguments.model, paths[2], mix, calibration=calibration, force=True)
            theirs, ours, calibrated = (divergence(path, reference, texts, arguments.threads) for path in paths)
            figures = f"{theirs:.6f} | {ours:.6f} | {ours / theirs:.3f} | {calibrated:.6f} | {calibrated / ours:.3f}"
            print(f"| {mix} | {figures} |")


def divergence(path: Path, reference: santacoder.SantaCoder, texts: Sequence[str], threads: int) -> float:
    """Return the mean KL in nats per token, with both models in our engine."""
    with santacoder.load(path, threads) as model:
        return measure(model, reference, texts, check_stride(None, model.context)).mean_kl


def speed(arguments: argparse.Namespace) -> None:
    """Print seconds and peak memory of a process that writes Q4_K_M."""
    found: dict[str, list[tuple[float, int]]] = {"santacoder": [], "llama.cpp": []}
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        for _ in range(arguments.rounds):
            for name, samples in found.items():
                samples.append(timed(name, arguments.model, Path(folder, "out.gguf"), arguments.threads))
    print("| quantizer | seconds | peak memory |\n|---|---|---|")
    for name, samples in found.items():
        seconds, sizes = zip(*samples, strict=True)
        print(f"| {name} | {median(seconds):.1f} | {max(sizes) / 1e6:.0f} MB |")
    ours, theirs = (median(seconds for seconds, _ in samples) for samples in found.values())
    print(f"\n{arguments.threads} threads, {arguments.rounds} rounds: ours takes {ours / theirs:.2f} times as long")


def timed(name: str, source: Path, target: Path, threads: int) -> tuple[float, int]:
    """Return the seconds and peak bytes of one process."""
    program = {
        "santacoder": ["-m", "santacoder", "quantize", str(source), str(target), "--force", "--threads", str(threads)],
        "llama.cpp": [__file__, "llama", str(source), str(target), "--threads", str(threads)],
    }[name]
    done = processes.run([sys.executable, *program], "", {})
    return done.seconds, done.peak


def llama(arguments: argparse.Namespace) -> None:
    """Run llama.cpp's quantizer in its own process."""
    quantize_file(arguments.model, arguments.target, MIXES["q4_k_m"].file_type, arguments.threads)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Our quantizer compared with llama.cpp's.")
    commands = parser.add_subparsers(required=True)

    def command(run: Any, help: str) -> argparse.ArgumentParser:
        added = commands.add_parser(run.__name__, help=help)
        added.add_argument("model", type=Path)
        added.add_argument("--threads", type=int, default=2)
        added.set_defaults(run=run)
        return added

    command(errors, "squared errors")
    texts = command(files, "KL divergence of files")
    texts.add_argument("texts", type=Path, nargs="+", help="texts in UTF-8 to measure on")
    texts.add_argument("--calibrate", type=Path, nargs="+", required=True, help="other texts, to calibrate on")
    texts.add_argument("--types", nargs="+", default=["q4_k_m", "q5_k_m", "q6_k", "q8_0"], choices=list(MIXES))
    times = command(speed, "seconds and memory")
    times.add_argument("--rounds", type=int, default=3)
    times.add_argument("--folder", type=Path, help="where the files go (default: the system's temporary folder)")
    command(llama, "one run of llama.cpp's").add_argument("target", type=Path)
    arguments = parser.parse_args()
    arguments.run(arguments)


if __name__ == "__main__":
    main()
