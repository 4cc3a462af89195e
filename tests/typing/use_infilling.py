"""Infilling and sessions as users write them; checked by mypy and pyright, never run."""

from collections.abc import AsyncGenerator, Generator
from pathlib import Path

from typing_extensions import assert_type

from santacoder import Completion, Piece, SantaCoder, Session


def infill(model: SantaCoder) -> None:
    assert_type(model.infill("def f():\n", "\n", mode="psm", single_line=True, max_tokens=8), Completion)
    pieces = model.stream_infill("a", "b", mode="spm", temperature=0)
    assert_type(pieces, Generator[Piece, None, Completion])

    assert_type(model.infill_many([("a", "b")], 2, mode="spm", extra=["c"], max_tokens=8), list[list[Completion]])
    many = model.astream_infill_many(iter([("a", "b")]), context_budget=0.5, temperature=0)
    assert_type(many, AsyncGenerator[tuple[int, int, Piece], None])
    model.infill_many("a", "b")  # type: ignore[arg-type]
    model.infill_many([("a", "b")], max_token=5)  # type: ignore[call-arg]

    model.infill("a")  # type: ignore[call-arg]
    model.infill("a", None)  # type: ignore[arg-type]
    model.infill("a", [1])  # type: ignore[arg-type]
    model.infill("a", "b", "psm")  # type: ignore[call-arg]
    model.infill("a", "b", mode="msp")  # type: ignore[arg-type]
    model.infill("a", "b", max_token=5)  # type: ignore[call-arg]
    model.stream_infill("a", "b", singleline=True)  # type: ignore[call-arg]


def session(model: SantaCoder) -> None:
    session = model.session()
    assert_type(session, Session)
    assert_type(len(session), int)
    assert_type(session.complete("def f():", max_tokens=4), Completion)
    assert_type(session.stream([1, 2], max_tokens=4), Generator[Piece, None, Completion])
    assert_type(session.infill("a", "b", mode="auto"), Completion)
    assert_type(session.stream_infill("a", "b", single_line=True), Generator[Piece, None, Completion])
    session.save("a.session")
    session.load(Path("a.session"))

    session.complete("x", max_token=4)  # type: ignore[call-arg]
    session.infill("a", "b", mode="msp")  # type: ignore[arg-type]
    session.save()  # type: ignore[call-arg]
    session.load(None)  # type: ignore[arg-type]
    session.close()  # type: ignore[attr-defined]
