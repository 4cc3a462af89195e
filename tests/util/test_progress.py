"""Progress bars: where they are drawn, and that they never block."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import threading

import pytest

from santacoder._util import progress
from santacoder._util.progress import progress_bar
from tests.support.needs import needs_fork
from tests.support.paths import FILE
from tests.support.waiting import HANG


class Screen(io.StringIO):
    """A standard error that is a terminal, or is not."""

    def __init__(self, terminal: bool) -> None:
        super().__init__()
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal


@pytest.mark.parametrize("terminal", [True, False])
@pytest.mark.parametrize("shown", [True, False, None])
def test_where_a_bar_is_drawn(monkeypatch: pytest.MonkeyPatch, terminal: bool, shown: bool | None) -> None:
    screen = Screen(terminal)
    monkeypatch.setattr(sys, "stderr", screen)
    with progress_bar(10, "tokens", shown, done=2) as bar:
        bar.update(4)
        bar.set_postfix_str("9 tokens/s")
        if shown or (shown is None and terminal):
            bar.delay = 0  # type: ignore[attr-defined]
            bar.refresh()  # type: ignore[attr-defined]
    drawn = terminal if shown is None else shown
    assert ("6/10" in screen.getvalue(), "9 tokens/s" in screen.getvalue()) == (drawn, drawn)


NOTEBOOK = """
import io, sys, types
kernel = types.SimpleNamespace(config={"IPKernelApp": {}})
sys.modules["IPython"] = types.SimpleNamespace(get_ipython=lambda: kernel)
sys.stderr = io.StringIO()
from santacoder._util.progress import progress_bar
with progress_bar(10, "tokens") as bar:
    bar.delay = 0
    bar.update(6)
    bar.refresh()
from tqdm.auto import tqdm
print(isinstance(bar, tqdm), "6/10" in sys.stderr.getvalue())
with progress_bar(10, "tokens", False) as bar:
    print(isinstance(bar, tqdm))
"""


def test_in_a_notebook() -> None:
    """tqdm.auto draws it, which takes widgets where there are some."""
    done = subprocess.run([sys.executable, "-c", NOTEBOOK], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("True True\nFalse\n", "")


@pytest.mark.parametrize("gone", ["none", "closed"])
@pytest.mark.parametrize("lines", [True, False])
def test_no_standard_error(monkeypatch: pytest.MonkeyPatch, gone: str, lines: bool) -> None:
    screen = io.StringIO()
    screen.close()
    monkeypatch.setattr(sys, "stderr", None if gone == "none" else screen)
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
    with progress_bar(10, "tokens", lines=lines) as bar:
        bar.update(4)


def test_lines_in_a_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """One a minute, with the time that the rest takes at the speed since the beginning."""
    screen, seconds = Screen(False), iter([0.0, 30.0, 60.0, 100.0, 180.0])
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(progress, "monotonic", lambda: next(seconds))
    with progress_bar(1000, "samples", done=100, lines=True) as bar:
        bar.update(10)
        bar.set_postfix_str("9 tokens/s")
        bar.update(10)
        bar.update(30)
        bar.update(40)
    first, second = screen.getvalue().splitlines()
    assert first == "120 of 1000 samples, 9 tokens/s, 44 min left"
    assert second == "190 of 1000 samples, 9 tokens/s, 27 min left"


@pytest.mark.parametrize("shown", [True, False])
def test_no_lines_unless_it_is_a_log(monkeypatch: pytest.MonkeyPatch, shown: bool) -> None:
    screen = Screen(False)
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
    with progress_bar(10, "samples", shown, lines=True) as bar:
        bar.update(4)
    assert " of 10" not in screen.getvalue()


def test_no_thread_and_no_tqdm_without_a_bar() -> None:
    program = f"""
import sys, threading, santacoder
model = santacoder.load({str(FILE)!r}, threads=1)
model.complete_many(["a", "b"], max_tokens=2)
model.score_many(["ab"], progress=False)
assert "tqdm" not in sys.modules, "tqdm was imported"
model.complete_many(["a", "b"], max_tokens=2, progress=True)
assert "multiprocessing.synchronize" not in sys.modules, "a lock shared by processes was made"
assert threading.active_count() == 1, threading.enumerate()
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=HANG, stderr=subprocess.PIPE)


@pytest.mark.parametrize("shown", [True, False, None])
def test_a_killed_worker_holds_up_nobody(shown: bool | None) -> None:
    """A worker dies while it holds tqdm's own lock, which all processes forked from one share."""
    program = f"""
import os, signal, sys, santacoder, tqdm
tqdm.tqdm.get_lock()  # as whoever drew a bar of tqdm's before the fork
model = santacoder.load({str(FILE)!r}, threads=1)
model.complete_many(["a"], max_tokens=2, progress={shown})
child = os.fork()
if not child:
    with santacoder.progress.progress_bar(5, "tokens", {shown}):
        for lock in {{tqdm.tqdm.get_lock(), santacoder.progress._bar_class().get_lock()}}:
            lock.acquire()
        os.kill(os.getpid(), signal.SIGKILL)
os.waitpid(child, 0)
assert len(model.complete_many(["a"], max_tokens=2, progress={shown})) == 1
assert len(model.score_many(["ab"], progress={shown})) == 1
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", program], check=True, timeout=HANG, stderr=subprocess.PIPE)


@needs_fork
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_while_another_thread_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Screen(True))
    held, over = threading.Event(), threading.Event()

    def hold() -> None:
        with progress_bar(10, "tokens", True) as bar, bar.get_lock():  # type: ignore[attr-defined]
            held.set()
            over.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    child = os.fork()
    if not child:
        with progress_bar(10, "tokens", True) as bar:
            bar.update(10)
        os._exit(0)
    over.set()
    thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
