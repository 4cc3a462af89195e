"""What an editor does: ask for a completion at each keystroke, and cancel it at the next one.

    python examples/editor.py [MODEL.gguf]

A session keeps the keys and values of its last text, so each request computes only what changed since then.
"""

from __future__ import annotations

import sys

import santacoder

BEFORE = "import os\n\n\ndef names(folder):\n    "
TYPED = "for name in os.listdir("
AFTER = "):\n        yield name\n"


def main(path: str | None = None) -> None:
    """Type TYPED into a file, and show what the model suggests at some of the keystrokes."""
    with santacoder.load(path) as model:
        session = model.session()  # one for each open file
        for keys in range(1, len(TYPED) + 1):
            prefix = BEFORE + TYPED[:keys]
            stream = session.stream_infill(prefix, AFTER, max_tokens=12, temperature=0)
            # The user types on: an editor closes the stream that is open before it asks again.
            if keys < len(TYPED):
                next(stream, None)
                stream.close()
                continue
            suggestion = "".join(piece.text for piece in stream)
            print(f"{TYPED}[{suggestion}]{AFTER.splitlines()[0]}")


if __name__ == "__main__":
    main(*sys.argv[1:2])
