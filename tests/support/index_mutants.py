"""Damaged copies of an index: flipped bytes, cuts, rows that are gone or exchanged."""

from __future__ import annotations

import random
import sqlite3
from pathlib import Path

TABLES = ("state", "repository", "origin", "content", "block", "file", "posting")


def write_mutant(index: Path, mutant: Path, seed: int) -> str:
    """Write a damaged copy, and return what was done to it."""
    source = random.Random(seed)
    data = bytearray(index.read_bytes())
    kind = source.choice(("byte", "bytes", "cut", "page", "row", "value", "swap"))
    if kind in ("row", "value", "swap"):
        mutant.write_bytes(data)
        return _change_rows(mutant, kind, source)
    if kind == "cut":
        at = source.randrange(len(data))
        del data[at:]
        did = f"cut at {at}"
    elif kind == "page":
        at, other = (source.randrange(len(data) // 4096) * 4096 for _ in range(2))
        data[at : at + 4096] = data[other : other + 4096]
        did = f"page at {at} is that at {other}"
    else:
        places = [source.randrange(len(data)) for _ in range(1 if kind == "byte" else source.randrange(2, 20))]
        for at in places:
            data[at] ^= 1 << source.randrange(8)
        did = f"a bit flipped at {places}"
    mutant.write_bytes(data)
    return did


def _change_rows(mutant: Path, kind: str, source: random.Random) -> str:
    connection = sqlite3.connect(mutant)
    table = source.choice(TABLES)
    ids = [row[0] for row in connection.execute(f"SELECT id FROM {table}")]
    chosen = source.choice(ids)
    column = source.choice([row[1] for row in connection.execute(f"PRAGMA table_info({table})")])
    did = f"{kind} {column} of row {chosen} of {table}"
    try:
        if kind == "row":
            connection.execute(f"DELETE FROM {table} WHERE id = ?", (chosen,))
        elif kind == "swap":
            other = source.choice(ids)
            taken = f"(SELECT {column} FROM {table} WHERE id = ?)"
            connection.execute(f"UPDATE {table} SET {column} = {taken} WHERE id = ?", (other, chosen))
            did += f" is that of {other}"
        else:
            value = source.choice((None, -1, 2**62, "x", b"", b"\xff" * 40, 0.5, 1))
            connection.execute(f"UPDATE {table} SET {column} = ? WHERE id = ?", (value, chosen))
            did += f" is {value!r}"
        connection.commit()
    except sqlite3.IntegrityError:
        pass  # the table refuses it: the mutant is whole
    connection.close()
    return did
