"""Where the tokens of a text stand in it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from santacoder.text.tokenizer import Tokenizer


def offsets(tokenizer: Tokenizer, text: str, ids: Sequence[int]) -> list[tuple[int, int]]:
    """Return the first character of each token and the one after its last, blanks included.

    Tokens that hold a part of a character have the whole of it.
    """
    sizes = [len(character.encode()) for character in text]
    character = np.repeat(np.arange(len(text)), sizes).tolist()  # that each byte belongs to
    found = []
    stop = 0
    for token in ids:
        start, stop = stop, stop + len(tokenizer.token_bytes(token))
        found.append((character[start], character[stop - 1] + 1))
    return found
