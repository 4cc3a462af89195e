"""Rows of training tokens: documents one after another, half of the pieces rearranged for fill-in-the-middle.

The stream is a function of the seed: its state is a few integers, so that training resumes where it stopped.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

SHORT_RATE = 1 / 3  # of rearranged pieces: shorter than the row has room for
READERS = 64  # documents read at the same time
MIN_FIM = 48  # tokens: shorter pieces are not rearranged
GUESSED = 1 << 20  # added to the ids of a middle, which the loss may weigh more
MAX_CHARACTERS = 5  # characters encoded for each free place of a row: nearly always enough to fill it
#: A function at the outermost level of a Python file.
FUNCTION = re.compile(r"^(?:async )?def .*\n(?:(?:[ \t].*)?\n|\).*\n)*[ \t].*\n", re.MULTILINE)
FUNCTION_CHARACTERS = 600  # longer ones are not short
FUNCTIONS_EACH = 3  # of a document in one row


@dataclass(frozen=True)
class Mix:
    """What rows are made of."""

    function_rate: float = 0.0  # of rows: short functions
    fim_rate: float = 0.5  # of pieces: rearranged
    psm_rate: float = 0.5  # of these: prefix, suffix, middle; the others are SPM
    line_rate: float = 1 / 3  # of rearranged pieces: the middle is one line, or the rest of one
    piece_tokens: int | None = None  # most tokens of a piece; none: the row
    short_rate: float = 0.0  # of rows: short texts, each whole
    short_fim_rate: float = 0.3  # of these texts: rearranged


class Vocabulary:
    """The trained tokenizer without special tokens in texts, and the ids of these."""

    def __init__(self, path: Path) -> None:
        full = Tokenizer.from_file(str(path))
        self.end: int = full.token_to_id("<|endoftext|>")
        self.prefix, self.middle, self.suffix = (
            full.token_to_id(f"<fim-{part}>") for part in ("prefix", "middle", "suffix")
        )
        self._plain = Tokenizer(full.model)
        self._plain.pre_tokenizer = full.pre_tokenizer

    def encode(self, text: str) -> list[int]:
        """Return the ids of a text; special tokens written out in it are plain text."""
        ids: list[int] = self._plain.encode(text).ids
        return ids

    def encode_with_ends(self, text: str) -> tuple[list[int], list[int]]:
        """Return the ids, and for each where its last character ends in the text."""
        encoding = self._plain.encode(text)
        return encoding.ids, [end for _, end in encoding.offsets]


def split(text: str, line_rate: float, rng: random.Random) -> tuple[str, str, str]:
    """Prefix, middle and suffix of a text, cut between any two characters or around one line."""
    if rng.random() < line_rate:
        starts = [0] + [i + 1 for i, c in enumerate(text) if c == "\n"]
        start = rng.choice(starts)
        end = text.find("\n", start)
        end = len(text) if end < 0 else end
        line = text[start:end]
        if line.strip():
            if rng.random() < 0.5:  # the hole begins behind the indentation
                start += len(line) - len(line.lstrip())
            return text[:start], text[start:end], text[end:]
    start, end = sorted((rng.randint(0, len(text)), rng.randint(0, len(text))))
    return text[:start], text[start:end], text[end:]


def rearrange(text: str, mix: Mix, vocabulary: Vocabulary, rng: random.Random) -> list[int]:
    """Return the ids of a text rearranged for fill-in-the-middle, PSM or SPM (variant 2), and the end of text."""
    prefix, middle, suffix = (vocabulary.encode(part) for part in split(text, mix.line_rate, rng))
    v = vocabulary
    middle = [GUESSED + token for token in (*middle, v.end)]
    if rng.random() < mix.psm_rate:
        return [v.prefix, *prefix, v.suffix, *suffix, v.middle, *middle]
    return [v.prefix, v.suffix, *suffix, v.middle, *prefix, *middle]


class ShortTexts:
    """Texts of .jsonl files, each whole and with the end of text; every file gives equally many."""

    def __init__(self, paths: Sequence[Path], vocabulary: Vocabulary) -> None:
        self._files = [[json.loads(line)["text"] for line in path.open(encoding="utf-8")] for path in paths]
        self._vocabulary = vocabulary

    def row(self, length: int, mix: Mix, rng: random.Random) -> list[int]:
        """Return a row of texts drawn at random; the last one is cut off."""
        row: list[int] = []
        while len(row) < length:
            text = rng.choice(rng.choice(self._files))
            if rng.random() < mix.short_fim_rate:
                row += rearrange(text, mix, self._vocabulary, rng)
            else:
                row += [*self._vocabulary.encode(text), self._vocabulary.end]
        return row[:length]


@dataclass
class Position:
    """Where the stream is: how many rows it gave, how many documents it opened, and which it reads up to where."""

    row: int = 0
    opened: int = 0
    documents: list[int] = field(default_factory=list)
    characters: list[int] = field(default_factory=list)


class Rows:
    """The stream of rows; a row mixes pieces of documents, which may begin and end anywhere.

    READERS documents are read at the same time, a row from one after the other: a batch has pieces of many documents,
    and a long one does not fill whole batches in a row.
    """

    def __init__(
        self,
        corpus: Path,
        vocabulary: Vocabulary,
        length: int,
        seed: int,
        position: Position,
        mix: Mix = Mix(),
        short_texts: ShortTexts | None = None,
    ) -> None:
        """`length` is the number of tokens in a row."""
        self._short_texts = short_texts
        self._root = corpus / "files"
        self._paths = (corpus / "train.txt").read_text().splitlines()
        self._vocabulary = vocabulary
        self._length = length
        self._seed = seed
        self._mix = mix
        self._order: tuple[int, list[int]] = (-1, [])
        self.position = position
        while len(position.documents) < READERS:
            position.documents.append(position.opened)
            position.characters.append(0)
            position.opened += 1
        self._texts = [self._read(document) for document in position.documents]

    @property
    def epoch(self) -> float:
        """How often the corpus was read."""
        return self.position.opened / len(self._paths)

    def batch(self, rows: int) -> NDArray[np.int64]:
        """Return the next rows, (rows, length); GUESSED is added to the tokens of middles."""
        return np.array([self._row() for _ in range(rows)], dtype=np.int64)

    def _read(self, document: int) -> str:
        epoch, index = divmod(document, len(self._paths))
        if self._order[0] != epoch:
            order = list(range(len(self._paths)))
            random.Random(f"{self._seed} {epoch}").shuffle(order)
            self._order = (epoch, order)
        return (self._root / self._paths[self._order[1][index]]).read_text("utf-8")

    def _row(self) -> list[int]:
        rng = random.Random(f"{self._seed} row {self.position.row}")
        if self._short_texts is not None and rng.random() < self._mix.short_rate:
            self.position.row += 1
            return self._short_texts.row(self._length, self._mix, rng)
        reader = self.position.row % READERS
        rate = self._mix.function_rate
        row = self._functions(rng) if rate and rng.random() < rate else []
        while len(row) < self._length:
            row += self._piece(reader, self._length - len(row), rng)
        self.position.row += 1
        return row

    def _functions(self, rng: random.Random) -> list[int]:
        """Return a row of short functions, each ended: what people give a model as a prompt begins like one of them.

        They come from the documents that are being read, which go on where they were.
        """
        row: list[int] = []
        for reader in rng.sample(range(READERS), READERS):
            found = [match[0] for match in FUNCTION.finditer(self._texts[reader])]
            for text in rng.sample(found, min(len(found), FUNCTIONS_EACH)):
                if len(text) <= FUNCTION_CHARACTERS:
                    row += [*self._vocabulary.encode(text), self._vocabulary.end]
            if len(row) >= self._length:
                break
        return row[: self._length]

    def _piece(self, reader: int, room: int, rng: random.Random) -> list[int]:
        """Return the next piece of a document, at most `room` tokens, with the end of text where it ends."""
        position, text, mix = self.position, self._texts[reader], self._mix
        row_room = room
        if mix.piece_tokens:
            room = min(room, rng.randint(MIN_FIM, mix.piece_tokens))
        start = position.characters[reader]
        chunk = text[start : start + MAX_CHARACTERS * room]
        ids, ends = self._vocabulary.encode_with_ends(chunk)
        if min(room, len(ids)) >= MIN_FIM and rng.random() < mix.fim_rate:
            piece, used = self._fim_piece(chunk, ends, room, rng)
        else:
            piece, used = ids[:room], ends[min(room, len(ids)) - 1]
        position.characters[reader] += used
        if position.characters[reader] < len(text):
            return piece
        if len(piece) < row_room and piece[-1] % GUESSED != self._vocabulary.end:
            piece.append(self._vocabulary.end)
        position.documents[reader], position.characters[reader] = position.opened, 0
        position.opened += 1
        self._texts[reader] = self._read(position.documents[reader])
        return piece

    def _fim_piece(self, chunk: str, ends: list[int], room: int, rng: random.Random) -> tuple[list[int], int]:
        """Return a rearranged piece, and how many characters it took; cutting costs tokens, so it may try twice."""
        tokens = min(room - 8, len(ends))
        if self._mix.piece_tokens is None and rng.random() < SHORT_RATE:
            tokens = rng.randint(MIN_FIM // 2, tokens)
        while True:
            used = ends[tokens - 1]
            piece = rearrange(chunk[:used], self._mix, self._vocabulary, rng)
            if len(piece) <= room:
                return piece, used
            tokens -= len(piece) - room
