"""The interpreter's end, with work under way and objects left open: nothing is printed, nothing hangs."""

from __future__ import annotations

import textwrap

import pytest

from tests.support.needs import needs_fork, needs_limits, needs_proc
from tests.support.programs import run

pytestmark = [needs_proc, needs_fork, needs_limits]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("delay", [0.0, 0.01, 0.05])
def test_the_interpreter_ends_during_generation(threads: int, delay: float) -> None:
    done = run(f"""
        model = santacoder.load(FILE, threads={threads})
        def forever():
            while True:
                model.complete(PROMPT, max_tokens=200, temperature=1.0, ignore_eos=True)
        for _ in range(3):
            threading.Thread(target=forever, daemon=True).start()
        time.sleep({delay})  # whatever moment this is
        print("end")
    """)
    assert (done.stdout, done.stderr) == ("end\n", "")


def test_the_interpreter_ends_during_load() -> None:
    done = run("""
        def forever():
            while True:
                once()
        threading.Thread(target=forever, daemon=True).start()
        time.sleep(0.05)
    """)
    assert "Fatal" not in done.stderr


def test_the_interpreter_ends_with_an_open_stream() -> None:
    done = run("""
        model = santacoder.load(FILE, threads=2)
        stream = model.stream(PROMPT, max_tokens=100, ignore_eos=True)
        next(stream)
    """)
    assert done.stderr == ""


#: What a program may leave open.
OPEN = {
    "a model": "",
    "a cycle": "model.itself = model",
    "a session": "session = model.session(); session.complete(PROMPT, max_tokens=2)",
    "a stream": "left = model.stream(PROMPT, max_tokens=50, ignore_eos=True); next(left)",
    "a session's stream": "left = model.session().stream(PROMPT, max_tokens=50, ignore_eos=True); next(left)",
    "a session's infilling": "left = model.session().stream_infill('a', 'b', ignore_eos=True); next(left)",
    "requests": "left = model.complete_each(santacoder.Request(PROMPT, {}) for _ in range(200)); next(left)",
    "a task": textwrap.dedent("""
        import asyncio
        async def begin():
            left = model.astream(PROMPT, max_tokens=50, ignore_eos=True)
            await anext(left)
            return left
        loop = asyncio.new_event_loop()
        left = loop.run_until_complete(begin())
        loop.close()
    """),
    "a task of a session": textwrap.dedent("""
        import asyncio
        async def begin():
            left = model.session().astream(PROMPT, max_tokens=50, ignore_eos=True)
            await anext(left)
            return left
        loop = asyncio.new_event_loop()
        left = loop.run_until_complete(begin())
        loop.close()
    """),
    "a file": textwrap.dedent("""
        from santacoder.gguf.reader import GGUFFile
        file = GGUFFile.open(FILE)
        data = file.data(next(iter(file.tensors.values())))
    """),
    "logits": textwrap.dedent("""
        engine = model._scheduler.engine
        left = engine.iter_logits_batch([([1, 2, 3], engine.new_cache())], 1)
        next(left)
    """),
}


@pytest.mark.parametrize("name", OPEN)
def test_the_interpreter_ends_with_modules_that_others_keep(name: str) -> None:
    """As with PyTorch: a module that is still referenced loses its globals, and objects are destroyed after that."""
    program = "model = santacoder.load(FILE, threads=2)\n" + OPEN[name]
    done = run(
        program
        + """
import ctypes
for name, module in sys.modules.items():
    if name == "__main__" or name.startswith("santacoder"):
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(module))
print("end")
"""
    )
    assert (done.stdout, done.stderr) == ("end\n", "")
