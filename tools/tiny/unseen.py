"""Unpack packages that are not in the corpus, for a figure that no file of the training's packages can flatter.

    pip download --no-deps --no-binary :none: -d ARCHIVES -r unseen.txt
    python unseen.py --archives ARCHIVES --out UNSEEN
    santacoder eval bpb UNSEEN/*

Of each package the files are taken that the corpus would take (selection.py), up to --kb of them, in the order of their
hashes; the last one is cut off after a line.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from corpus import candidates, identify, members

ENOUGH = 10**8  # bytes of a package, all there are


def main() -> None:
    """Write the files, each under the name of its package and its own."""
    parser = argparse.ArgumentParser(description="Unpack packages that are not in the corpus.")
    parser.add_argument("--archives", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--kb", type=float, default=25, help="of each package (default: %(default)s)")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True)
    for archive in sorted(arguments.archives.iterdir()):
        files = dict(members(archive))
        [source] = identify(archive, files)
        most, taken = int(1000 * arguments.kb), 0
        for path, text in candidates(source, files, ENOUGH).items():
            whole = len(text) <= most - taken
            part = text if whole else text[: text.rfind("\n", 0, most - taken) + 1]
            (arguments.out / path.removeprefix("python/").replace("/", "+")).write_text(part, "utf-8")
            taken += len(part)
            if not whole:
                break
        print(f"{source.name} {source.version}: {taken} characters")


if __name__ == "__main__":
    main()
