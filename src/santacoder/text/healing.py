"""Token healing: a text that was cut within a token goes on as if it had not been cut.

Where a prompt ends, a token ends. Had the text gone on, a longer token might stand there, and the model has hardly seen
the ones that do. So the last piece of the text is taken back, and what is generated has to begin with its bytes. These
bytes are owed: they are no part of the completion (Lundberg 2023, "Prompt Boundaries and Token Healing").
"""

from __future__ import annotations

from collections.abc import Sequence

from santacoder.text.tokenizer import Tokenizer


def take_back(tokenizer: Tokenizer, piece: Sequence[int]) -> tuple[int, bytes]:
    """Return how many tokens at the end of a text to take back, and their bytes.

    Args:
        tokenizer: the model's.
        piece: the tokens of the text's last piece: see `Tokenizer.encode_to_cut`. All of them are taken back, or none
            where the vocabulary cannot spell their bytes in another way.
    """
    owed = b"".join(map(tokenizer.token_bytes, piece))
    return (len(piece), owed) if owed and tokenizer.table.can_spell(owed) else (0, b"")
