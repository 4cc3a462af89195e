"""Sessions: a text that grows, and its files."""

from __future__ import annotations

import itertools
import os
import re
import threading
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

import santacoder
from santacoder.batching import session_file
from santacoder.batching.scheduler import Scheduler
from santacoder.decoding.options import SamplingParams
from santacoder.engine.transformer import Transformer
from santacoder.errors import ContextOverflowError, DeadlockError, InvalidRequestError
from santacoder.text.tokenizer import Tokenizer
from tests.support.interrupting import interrupt
from tests.support.needs import needs_named_pipes
from tests.support.paths import FILE, distributed
from tests.support.samples import CODE, Counted, alone, facts, new_sequence
from tests.support.waiting import wait_for


class ObservedLock:
    """A lock that reports when a thread waits for it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.waited_for = False

    def __enter__(self) -> None:
        if not self._lock.acquire(blocking=False):
            self.waited_for = True
            self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


class TestSession:
    def test_typing(self, parts: tuple[Transformer, Tokenizer]) -> None:
        from santacoder.batching.session import Session

        transformer, tokenizer = parts
        engine = Counted(transformer)
        session = Session(Scheduler(engine), tokenizer)  # type: ignore[arg-type]
        options: dict[str, Any] = {"max_tokens": 4, "temperature": 1.0, "seed": 5, "ignore_eos": True, "lookup": False}
        fresh = Scheduler(transformer)
        for end in range(len(CODE) - 12, len(CODE)):
            engine.rows.clear()
            found = session.complete(CODE[:end], **options)
            sample = new_sequence(tokenizer, CODE[:end], SamplingParams(**options))
            fresh.forget()
            fresh.finish([sample])
            assert facts(found) == facts(sample.completion())
            if end > len(CODE) - 12:
                assert sum(engine.rows) <= 3 + 4  # changed tokens, and generated ones but the last

    def test_streams_and_edits(self, model: santacoder.SantaCoder) -> None:
        session = model.session()
        options: dict[str, Any] = {"max_tokens": 6, "temperature": 1.0, "seed": 2}
        for prompt in (CODE, CODE[:30], "x" + CODE, CODE, ""):
            text = "".join(piece.text for piece in session.stream(prompt, **options))
            assert text == alone(model, prompt, **options)[0]
            assert model.complete(prompt + "x", **options).text == alone(model, prompt + "x", **options)[0]
        stream = session.stream(CODE, max_tokens=50, ignore_eos=True)
        next(stream)
        stream.close()
        assert session.complete(CODE, **options).text == alone(model, CODE, **options)[0]

    def test_an_open_stream_of_this_thread(self, model: santacoder.SantaCoder, tmp_path: Path) -> None:
        session = model.session()
        options: dict[str, Any] = {"max_tokens": 6, "temperature": 1.0, "seed": 2, "ignore_eos": True}
        stream = session.stream(CODE, **options)
        pieces = [next(stream)]
        for request in (
            lambda: session.complete(CODE),
            lambda: session.infill(CODE, "x"),
            lambda: next(session.stream(CODE)),
            lambda: session.save(tmp_path / "a.session"),
            lambda: session.load(tmp_path / "a.session"),
        ):
            with pytest.raises(DeadlockError, match=r"a stream of this session is still open in this thread"):
                request()
        pieces += stream
        assert "".join(piece.text for piece in pieces) == alone(model, CODE, **options)[0]
        assert session.complete(CODE, **options).text == alone(model, CODE, **options)[0]

    def test_an_open_stream_of_another_thread(
        self, model: santacoder.SantaCoder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The stream is closed once another request waits for it or has ended without waiting."""
        session, lock = model.session(), ObservedLock()
        monkeypatch.setattr(session._turn, "lock", lock)
        stream = session.stream(CODE, max_tokens=50, ignore_eos=True)
        next(stream)
        began, order = threading.Event(), list[str]()

        def read_on() -> None:
            next(stream)
            began.set()
            wait_for(lambda: lock.waited_for or order)
            order.append("closed")
            stream.close()

        reader = threading.Thread(target=read_on)
        reader.start()
        began.wait()
        session.complete(CODE[:30], max_tokens=1)
        order.append("completed")
        reader.join()
        assert order == ["closed", "completed"]

    @pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # came as a generator ended
    def test_an_interrupt_at_any_place(self, model: santacoder.SantaCoder, tmp_path: Path) -> None:
        """Later results are right, from the session itself and from its file."""
        options: dict[str, Any] = {"max_tokens": 3, "temperature": 1.0, "seed": 2, "ignore_eos": True}
        expected = {text: alone(model, text, **options) for text in (CODE, CODE[:40] + "x")}
        session = model.session()
        for at in itertools.count():
            session.complete(CODE, **options)
            more = interrupt(lambda: session.complete(CODE[:40] + "x", **options), at)
            session.save(tmp_path / "a.session")
            loaded = model.session()
            loaded.load(tmp_path / "a.session")
            for text, facts_alone in expected.items():
                assert facts(session.complete(text, **options)) == facts_alone, f"interrupted at place {at}"
                assert facts(loaded.complete(text, **options)) == facts_alone, f"interrupted at place {at}"
            if not more:
                assert at > 100
                return

    def test_a_closed_stream_leaves_the_cache_alone(self, model: santacoder.SantaCoder) -> None:
        """Although its sample is in the batch until the next step."""
        session = model.session()
        stream = session.stream(CODE, max_tokens=50, ignore_eos=True)
        next(stream)
        [sequence] = model._scheduler.sequences
        stream.close()
        assert (model._scheduler.sequences, sequence.cancelled, sequence.cache) == ([sequence], True, None)
        assert len(session) == len(session._cache) > 0

    def test_streams_check_at_once(self, model: santacoder.SantaCoder) -> None:
        session = model.session()
        with pytest.raises(ContextOverflowError, match=r"the prompt has \d+ tokens"):
            session.stream("x " * 500)
        with pytest.raises(InvalidRequestError, match="99999"):
            session.stream_infill("a", "b", logit_bias={99999: 1})


class TestSessionFiles:
    OPTIONS: ClassVar[dict[str, Any]] = {
        "max_tokens": 8, "temperature": 1.0, "seed": 2, "lookup": False, "token_healing": False
    }  # fmt: skip

    @pytest.fixture
    def saved(self, model: santacoder.SantaCoder, tmp_path: Path) -> Path:
        session = model.session()
        session.complete(CODE * 2, **self.OPTIONS)
        session.save(tmp_path / "a.session")
        return tmp_path / "a.session"

    def test_goes_on(self, parts: tuple[Transformer, Tokenizer], model: santacoder.SantaCoder, saved: Path) -> None:
        from santacoder.batching.session import Session

        engine = Counted(parts[0])
        engine.fingerprint, engine.config = parts[0].fingerprint, parts[0].config  # type: ignore[attr-defined]
        session = Session(Scheduler(engine), parts[1])  # type: ignore[arg-type]
        session.load(saved)
        found = session.complete(CODE * 2, **self.OPTIONS)
        assert facts(found) == facts(model.complete(CODE * 2, **self.OPTIONS))
        assert sum(engine.rows) == found.usage.completion_tokens  # the prompt's last token, and all but the last one

    def test_nothing_else_in_the_folder(self, saved: Path) -> None:
        assert [path.name for path in saved.parent.iterdir()] == [saved.name]

    def test_deleted_text_is_not_in_the_file(self, model: santacoder.SantaCoder, tmp_path: Path) -> None:
        """Tokens that were deleted leave neither ids nor keys and values: the file is as if they had never been."""
        for name, prompts in (("deleted", (CODE * 2, CODE[:30])), ("never", (CODE[:30],))):
            session = model.session()
            for prompt in prompts:
                session.complete(prompt, max_tokens=2, temperature=0.0, lookup=False)
            session.save(tmp_path / name)
        assert (tmp_path / "deleted").read_bytes() == (tmp_path / "never").read_bytes()

    def test_every_damaged_byte_is_noticed(self, model: santacoder.SantaCoder, saved: Path, tmp_path: Path) -> None:
        data = saved.read_bytes()
        random = np.random.default_rng(0)
        places = {*range(60), len(data) - 1, *random.integers(60, len(data), 40).tolist()}
        session = model.session()
        bad = tmp_path / "bad"
        for place in places:
            bad.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
            with pytest.raises(santacoder.SessionFormatError):
                session.load(bad)
        for length in (0, 7, 51, 52, 100, len(data) - 1):
            bad.write_bytes(data[:length])
            with pytest.raises(santacoder.SessionFormatError):
                session.load(bad)
        bad.write_bytes(data + b"x")
        with pytest.raises(santacoder.SessionFormatError, match="its header asks for"):
            session.load(bad)
        assert len(session) == 0
        assert facts(session.complete("a", **self.OPTIONS)) == alone(model, "a", **self.OPTIONS)

    def test_the_layout_that_is_written_down(self, saved: Path) -> None:
        documented = re.findall(r'"(SCSESS\d\d)"', session_file.__doc__ or "")
        assert documented == [session_file.MAGIC.decode()]
        assert saved.read_bytes().startswith(session_file.MAGIC)

    def test_another_version(self, model: santacoder.SantaCoder, saved: Path, tmp_path: Path) -> None:
        old = tmp_path / "old"
        old.write_bytes(b"SCSESS01" + saved.read_bytes()[8:])
        with pytest.raises(santacoder.SessionFormatError, match=r"session of version '01', and this .* reads '02'$"):
            model.session().load(old)

    @needs_named_pipes
    def test_what_is_no_file_is_not_replaced(self, model: santacoder.SantaCoder, tmp_path: Path) -> None:
        pipe = tmp_path / "pipe"
        os.mkfifo(pipe)
        with pytest.raises(OSError, match="this is a device or a pipe, not a file to write"):
            model.session().save(pipe)
        assert pipe.is_fifo()
        with pytest.raises(santacoder.InvalidRequestError, match="holds a NUL character"):
            model.session().save(tmp_path / "a\0b")
        model.session().save(tmp_path / ("n" * 255))
        assert sorted(path.name for path in tmp_path.iterdir()) == ["n" * 255, "pipe"]

    def test_another_model(self, saved: Path) -> None:
        other = distributed(FILE.with_name("mha-q4_k_m.gguf"))
        with santacoder.load(other) as model, pytest.raises(santacoder.SessionFormatError, match="another model"):
            model.session().load(saved)

    def test_a_smaller_context(self, saved: Path) -> None:
        with (
            santacoder.load(FILE, context=16) as model,
            pytest.raises(santacoder.SessionFormatError, match=r"holds 91 tokens in 2 blocks"),
        ):
            model.session().load(saved)

    @needs_named_pipes
    def test_paths_that_are_no_file(self, model: santacoder.SantaCoder, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "fifo")
        session = model.session()
        for path in (tmp_path, tmp_path / "fifo", Path("/dev/zero")):
            with pytest.raises(
                santacoder.SessionFormatError, match=r": the path is a (directory|named pipe|device), not a file$"
            ):
                session.load(path)
        with pytest.raises(santacoder.SessionFormatError, match=r"holds a NUL character$"):
            session.load("a\0b")
        with pytest.raises(FileNotFoundError):
            session.load(tmp_path / "none")

    def test_unwritable(self, model: santacoder.SantaCoder, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError):
            model.session().save(tmp_path / "none" / "a.session")
