"""What `xz -9e` makes of the held-out Python files, one by one: the figure that the model must beat.

python baseline.py --corpus CORPUS
"""

from __future__ import annotations

import argparse
import lzma
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path


def sizes(path: Path) -> tuple[int, int]:
    """(bytes of the file, bytes that xz makes of it)."""
    data = path.read_bytes()
    return len(data), len(lzma.compress(data, preset=9 | lzma.PRESET_EXTREME))


def main() -> None:
    """Parse the command line, compress, print."""
    parser = argparse.ArgumentParser(description="Bits per byte of xz -9e on the held-out files, one by one.")
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--language", default="python")
    arguments = parser.parse_args()
    lines = (arguments.corpus / "heldout.txt").read_text().splitlines()
    paths = [arguments.corpus / "files" / line for line in lines if line.startswith(f"{arguments.language}/")]
    with ProcessPoolExecutor() as pool:
        pairs = list(pool.map(sizes, paths, chunksize=8))
    plain, packed = (sum(column) for column in zip(*pairs, strict=True))
    bits = 8 * packed / plain
    print(f"{len(paths)} files, {plain} bytes: xz -9e {bits:.4f} bits per byte, 0.65 times that is {0.65 * bits:.4f}")


if __name__ == "__main__":
    main()
