"""The process around the library: forks, its end, signals, scarce memory, odd environments. Each test is a process."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest

from tests.support import malformed
from tests.support.needs import needs_any_names, needs_fork, needs_limits, needs_proc
from tests.support.paths import FILE
from tests.support.programs import run

pytestmark = [needs_proc, needs_fork, needs_limits]


def test_fork_while_a_session_works() -> None:
    run("""
        with santacoder.load(FILE, threads=2) as model:
            session = model.session()
            expected = session.complete(PROMPT, max_tokens=16, temperature=1.0, seed=1).tokens
            begun = threading.Event()
            def work():
                for piece in session.stream(PROMPT + "x", max_tokens=200, temperature=0, ignore_eos=True):
                    begun.set()
            thread = threading.Thread(target=work)
            thread.start()
            begun.wait()
            children = []
            for _ in range(8):
                child = os.fork()
                if not child:
                    found = session.complete(PROMPT, max_tokens=16, temperature=1.0, seed=1).tokens
                    os._exit(0 if found == expected else 1)
                children.append(child)
            thread.join()
            for child in children:
                join(child)
            assert session.complete(PROMPT, max_tokens=16, temperature=1.0, seed=1).tokens == expected
    """)


def test_fork_in_an_open_stream_of_a_session() -> None:
    run("""
        with santacoder.load(FILE, threads=2) as model:
            options = dict(max_tokens=16, temperature=1.0, seed=1, ignore_eos=True, lookup=False)
            expected = model.complete(PROMPT, **options).text
            session = model.session()
            stream = session.stream(PROMPT, **options)
            text = next(stream).text
            child = os.fork()
            text += "".join(piece.text for piece in stream)
            right = text == expected and session.complete(PROMPT, **options).text == expected
            if not child:
                os._exit(0 if right else 1)
            assert right
            join(child)
    """)


def test_fork_before_load() -> None:
    run("""
        child = os.fork()
        tokens = once()
        if not child:
            os._exit(0 if len(tokens) == 16 else 1)
        join(child)
    """)


def test_fork_after_load_and_use() -> None:
    run("""
        model = santacoder.load(FILE, threads=3)
        before = answer(model)
        children = []
        for _ in range(4):
            child = os.fork()
            if not child:
                same = answer(model) == before
                grandchild = os.fork()
                if not grandchild:
                    os._exit(0 if answer(model) == before else 1)
                join(grandchild)
                model.close()
                os._exit(0 if same else 1)
            children.append(child)
        assert answer(model) == before
        for child in children:
            join(child)
        assert answer(model) == before
    """)


def test_fork_into_a_namespace_where_process_ids_recur() -> None:
    done = run("""
        import ctypes

        def fork_as_first(work):
            if ctypes.CDLL(None).unshare(0x20000000):  # CLONE_NEWPID
                return False
            child = os.fork()
            if not child:
                os._exit(0 if os.getpid() == 1 and work() else 1)
            join(child)
            return True

        def use_and_fork():
            with santacoder.load(FILE, threads=2) as model:
                tokens = answer(model)
                return fork_as_first(lambda: answer(model) == tokens)

        if not fork_as_first(use_and_fork):
            print("not allowed")
    """)
    if done.stdout:
        pytest.skip("a new namespace is not allowed here")


def test_fork_before_the_first_use() -> None:
    run("""
        model = santacoder.load(FILE, threads=2)
        child = os.fork()
        if not child:
            os._exit(0 if len(answer(model)) == 16 else 1)
        join(child)
        assert len(answer(model)) == 16
    """)


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing(tmp_path: Path, method: str) -> None:
    run(
        f"""
        def work(_):
            return once()

        if __name__ == "__main__":
            expected = once()
            with multiprocessing.get_context({method!r}).Pool(2) as pool:
                assert pool.map(work, range(4)) == [expected] * 4
        """,
        path=tmp_path / "program.py",
    )


def test_a_model_that_forked_workers_share(tmp_path: Path) -> None:
    run(
        """
        model = santacoder.load(FILE, threads=2)
        expected = answer(model)

        def work(_):
            return answer(model)

        if __name__ == "__main__":
            with multiprocessing.get_context("fork").Pool(3) as pool:
                assert pool.map(work, range(9)) == [expected] * 9
        """,
        path=tmp_path / "program.py",
    )


def test_no_signal_handler_is_installed() -> None:
    run("""
        handlers = [signal.getsignal(number) for number in signal.valid_signals()]
        def of_the_process():
            status = dict(line.split(":", 1) for line in open("/proc/self/status"))
            # 32 and 33 are glibc's own, for threads.
            return [int(status[name], 16) & 0x7FFFFFFF for name in ("SigCgt", "SigIgn", "SigBlk")]
        before = of_the_process()
        model = santacoder.load(FILE, threads=2)
        answer(model)
        assert of_the_process() == before
        assert [signal.getsignal(number) for number in signal.valid_signals()] == handlers
        model.close()
        assert of_the_process() == before
    """)


def test_ctrl_c_in_a_long_prompt() -> None:
    run("""
        signal.signal(signal.SIGINT, signal.default_int_handler)  # what runs the tests may ignore it, as nohup does
        model = santacoder.load(FILE, threads=2)
        expected = answer(model)
        for number in range(20):
            try:
                threading.Timer(0.01 + 0.002 * number, os.kill, (os.getpid(), signal.SIGINT)).start()
                while True:
                    model._scheduler.forget()
                    model.logits([number] * 256)
            except KeyboardInterrupt:
                pass
            assert answer(model) == expected
    """)


def test_signals_reach_their_handler_while_threads_compute() -> None:
    run("""
        seen = []
        signal.signal(signal.SIGALRM, lambda *_: seen.append(threading.get_ident()))
        model = santacoder.load(FILE, threads=4)
        expected = answer(model)
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
        for _ in range(20):
            assert answer(model) == expected
        signal.setitimer(signal.ITIMER_REAL, 0)
        assert set(seen) == {threading.main_thread().ident}
    """)


def test_sigterm_ends_the_process() -> None:
    run(
        """
        model = santacoder.load(FILE, threads=2)
        threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGTERM)).start()
        while True:
            answer(model)
        """,
        status=-signal.SIGTERM,
    )


@pytest.mark.parametrize("megabytes", [0, 1, 2, 4, 8, 16, 64])
def test_too_little_memory(megabytes: int) -> None:
    """`ulimit -v`: an answer or a MemoryError, and with enough memory the same answer as always."""
    run(f"""
        expected = once()
        used = next(int(line.split()[1]) << 10 for line in open("/proc/self/status") if line.startswith("VmSize"))
        soft, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (used + ({megabytes} << 20), hard))
        try:
            with santacoder.load(FILE, threads=1) as model:
                assert answer(model) == expected
        except MemoryError as error:
            print(error)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        assert once() == expected
    """)


def test_weights_that_do_not_fit() -> None:
    done = run("""
        from santacoder._native import ffi, lib
        once()
        resource.setrlimit(resource.RLIMIT_AS, (1 << 31, 1 << 31))
        assert lib.sc_allocate(1 << 33) == ffi.NULL
        assert lib.sc_allocate((1 << 64) - 1) == ffi.NULL
        print(len(once()))
    """)
    assert done.stdout == "16\n"


@pytest.mark.parametrize("threads", [1, 2, 3, 5, 8, 13, 31, 64, 127, 256])
def test_thread_counts(threads: int) -> None:
    done = run(f"""
        with santacoder.load(FILE, threads={threads}) as model:
            print(answer(model))
            tasks = len(os.listdir("/proc/self/task"))
        assert tasks >= {threads}
        print(len(os.listdir("/proc/self/task")) < tasks or {threads} == 1)
    """)
    assert done.stdout == run("print(once())").stdout + "True\n"


def test_one_cpu() -> None:
    done = run("""
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        with santacoder.load(FILE) as model:
            assert model.threads == 1
            print(answer(model))
        with santacoder.load(FILE, threads=4) as model:
            print(answer(model))
        assert len(os.sched_getaffinity(0)) == 1
    """)
    expected = run("print(once())").stdout
    assert done.stdout == 2 * expected


ENVIRONMENTS = {
    "no HOME": {"HOME": ""},
    "a HOME that is not there": {"HOME": "/nonexistent/home"},
    "a HOME that cannot be written": {"HOME": "/proc"},
    "LANG=C": {"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    "no PATH": {"PATH": ""},
}


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_environments(name: str) -> None:
    done = run(
        """
        once()
        with santacoder.load(threads=1) as model:
            sys.stdout.buffer.write(model.tokenizer.decode(model.tokenizer.encode("\\u65e7\\u00e9")).encode())
        from santacoder.cli import main
        sys.exit(main(["complete", "--model", FILE, "--max-tokens", "8", "--seed", "1", "def \\u00e9:"]))
        """,
        ENVIRONMENTS[name],
    )
    assert done.stdout.startswith("旧é")
    assert done.stderr == ""


@needs_any_names
def test_a_file_name_with_any_byte(tmp_path: Path) -> None:
    copy = os.fsencode(tmp_path) + b"/\xff.gguf"
    Path(os.fsdecode(copy)).write_bytes(FILE.read_bytes())
    done = run(f"FILE = {os.fsdecode(copy)!r}\nprint(len(once()))", {"LC_ALL": "C", "PYTHONUTF8": "0"})
    assert done.stdout == "16\n"


def test_cycles_of_loading_leave_nothing(tmp_path: Path) -> None:
    """A thousand times: as many threads and descriptors as before, and no growth of memory."""
    small = tmp_path / "small.gguf"
    small.write_bytes(malformed.model().build())
    done = run(
        """
        import gc
        def state():
            gc.collect()
            status = open("/proc/self/status").read()
            resident = int(status.split("VmRSS:")[1].split()[0])
            return resident, len(os.listdir("/proc/self/task")), len(os.listdir("/proc/self/fd"))
        def cycle():
            with santacoder.load(os.environ["SMALL"], threads=2) as model:
                model.complete([0], max_tokens=1, ignore_eos=True)
        for _ in range(100):
            cycle()
        before = state()
        for _ in range(1000):
            cycle()
        print(*before, *state())
    """,
        {"SMALL": str(small)},
    )
    before, threads, files, after, threads_after, files_after = map(int, re.findall(r"\d+", done.stdout))
    assert (threads_after, files_after) == (threads, files)
    assert after - before < 4096  # KB


def test_long_texts_start_no_threads_and_survive_a_fork() -> None:
    run("""
        def threads():
            return len(os.listdir("/proc/self/task"))
        model = santacoder.load(FILE, threads=1)
        before = threads()
        model.complete(PROMPT, max_tokens=2)
        assert threads() == before
        text = "def f(x):\\n    return x + 1\\n" * 22_000
        expected = model.tokenizer.encode(text)
        assert len(text) > 590_000 and threads() == before
        child = os.fork()
        found = model.tokenizer.encode(text)
        if not child:
            os._exit(0 if found == expected and threads() == 1 else 1)
        assert found == expected and threads() <= before  # a fork ends those of NumPy's
        join(child)
    """)


def test_a_text_that_cannot_fit_is_not_tokenised() -> None:
    run("""
        model = santacoder.load(FILE, threads=1)
        session = model.session()
        def refuse(*_):
            raise AssertionError("the text was tokenised")
        model.tokenizer.encode = refuse
        most = model.context * model.tokenizer.longest
        for length, tokens in ((most + 1, model.context + 1), (600_000, -(-600_000 // model.tokenizer.longest))):
            text = "x" * length
            for ask in (model.logits, model.iter_logits):
                try:
                    ask(text)
                    raise SystemExit(f"{ask} took it")
                except santacoder.ContextOverflowError as error:
                    told = f"the prompt has at least {tokens} tokens, but the context has {model.context} positions"
                    assert str(error) == told, error
            for ask in (model.complete, model.stream, session.complete, session.stream):
                try:
                    ask(text, max_tokens=3)
                    raise SystemExit(f"{ask} took it")
                except santacoder.ContextOverflowError as error:
                    told = f"at least {tokens} tokens and max_tokens is 3, together at least {tokens + 3}, but"
                    assert told in str(error), error
            assert not model.fits(text, 0)
        try:
            model.score("x" * (most + model.tokenizer.longest + 1))
            raise SystemExit("score took it")
        except santacoder.ContextOverflowError as error:
            assert str(error).startswith(f"the prompt has at least {model.context + 2} tokens, but at most"), error
    """)
