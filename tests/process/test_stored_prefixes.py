"""The prefix cache of several processes: killed while they write, forked, at their end, and with no room."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.support.needs import needs_fork, needs_limits
from tests.support.programs import run
from tests.support.stored_blocks import block_paths

pytestmark = [needs_fork, needs_limits]

#: Writes the same blocks again and again, and says when it begins.
WRITES = """
import os, sys
import numpy as np
from pathlib import Path
from santacoder.engine.kv_cache import KV_BLOCK, KVCache
from santacoder.prefixes.store import StoredPrefixes
size = 32768
stored = StoredPrefixes(Path(sys.argv[1]), 1 << 30, "f" * 64, size)
caches = []
for seed in range(4):
    cache = KVCache(size, 32 * KV_BLOCK, dim=32, item_bytes=2)
    cache.fill(32 * KV_BLOCK, lambda block: block.fill(seed + 1))
    caches.append(cache)
print(flush=True)
while True:
    for seed, cache in enumerate(caches):
        stored._seen = {}
        for path in Path(sys.argv[1]).glob("*/????????????????????????????????????????"):
            path.unlink(missing_ok=True)
        stored.keep(np.full(32 * KV_BLOCK, seed, np.int32), cache)
        stored.flush(60)
"""
KILLS = 20


def test_killed_while_it_writes(tmp_path: Path) -> None:
    """Whatever is left, each block that can be read is what was written."""
    import numpy as np

    from santacoder.engine.kv_cache import KV_BLOCK
    from santacoder.prefixes.block_files import BlockFiles
    from santacoder.prefixes.block_names import block_names, root_name

    root = root_name("f" * 64, 32768)
    wanted = {
        name: seed + 1 for seed in range(4) for name in block_names(root, np.full(32 * KV_BLOCK, seed, np.int32), 32)
    }
    files = BlockFiles(tmp_path / ("f" * 16), 32768)
    delays, found = random.Random(1), 0
    for _ in range(KILLS):
        command = [sys.executable, "-c", WRITES, str(tmp_path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"\n"
            time.sleep(delays.uniform(0, 0.02))
            process.send_signal(signal.SIGKILL)
        for path in block_paths(tmp_path):
            block = np.zeros(32768, np.uint8)
            assert files.read(path.name, block), "a file under its final name is whole"
            assert set(block.tolist()) == {wanted[path.name]}
            found += 1
    assert found > 0
    assert {len(path.name) for path in files.folder.iterdir()} <= {40, 58}  # blocks and unfinished files
    code = f"""
        with santacoder.load(FILE, threads=1, prefix_cache={str(tmp_path)!r}) as model:
            assert model.complete(PROMPT, max_tokens=2).tokens
    """
    run(code)


def test_forks(tmp_path: Path) -> None:
    """Parent and children read and write the same folder; nobody waits for a thread that a child does not have."""
    run(f"""
        ask = dict(max_tokens=4, temperature=1.0, seed=1, ignore_eos=True)
        prompts = [[number, *range(100, 230)] for number in range(6)]
        with santacoder.load(FILE, threads=1) as model:
            expected = [model.complete(prompt, **ask).tokens for prompt in prompts]
        for round in range(2):
            model = santacoder.load(FILE, threads=1, prefix_cache={str(tmp_path)!r})
            children = []
            for number, prompt in enumerate(prompts):
                assert model.complete(prompt, **ask).tokens == expected[number]
                child = os.fork()
                if not child:
                    right = all(model.complete(p, **ask).tokens == e for p, e in zip(prompts, expected))
                    model.close()
                    os._exit(0 if right else 1)
                children.append(child)
            for child in children:
                join(child)
            model.close()
    """)
    assert len(block_paths(tmp_path)) == 12


def test_two_processes_at_once(tmp_path: Path) -> None:
    code = f"""
        prompts = [[number, *range(100, 230)] for number in range(20)]
        with santacoder.load(FILE, threads=1) as model:
            expected = model.complete_many(prompts, max_tokens=2, seed=1)
        barrier = multiprocessing.get_context("fork").Barrier(2)
        child = os.fork()
        for round in range(3):
            barrier.wait(600)
            size = 40_000 * 12
            with santacoder.load(FILE, threads=1, prefix_cache={str(tmp_path)!r}, prefix_cache_bytes=size) as model:
                found = model.complete_many(prompts, max_tokens=2, seed=1)
            assert [c[0].tokens for c in found] == [c[0].tokens for c in expected]
        if child:
            join(child)
        else:
            os._exit(0)
    """
    run(code)
    assert 0 < len(block_paths(tmp_path)) <= 24


def test_files_of_limited_size(tmp_path: Path) -> None:
    """The system refuses to write a block: one warning, and answers."""
    done = run(f"""
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
        for _ in range(2):
            with santacoder.load(FILE, threads=1, prefix_cache={str(tmp_path)!r}) as model:
                for number in range(3):
                    model.complete([number, *range(100, 230)], max_tokens=2)
    """)
    lines = done.stderr.splitlines()
    assert len(lines) == 2
    assert lines[0] == lines[1]
    assert "cannot be written, so nothing is kept for now: File too large" in lines[0]
    assert block_paths(tmp_path) == []
    assert [path.name for path in tmp_path.rglob(".*")] == []


def test_the_end_of_the_interpreter(tmp_path: Path) -> None:
    """Nothing waits, and nothing is printed, if a model is not closed."""
    code = f"""
        model = santacoder.load(FILE, threads=1, prefix_cache={str(tmp_path)!r})
        model.complete(list(range(100, 230)), max_tokens=2)
        model._scheduler._stored._files.write = lambda *_: time.sleep(3600)
        model.complete([1, *range(100, 230)], max_tokens=2)
    """
    done = run(code)
    assert (done.stdout, done.stderr) == ("", "")


def test_no_thread_is_left(tmp_path: Path) -> None:
    run(f"""
        def threads():
            return len(os.listdir("/proc/self/task"))
        before = santacoder.load(FILE, threads=1)
        before.complete(PROMPT, max_tokens=2)
        count, descriptors = threads(), len(os.listdir("/proc/self/fd"))
        for _ in range(3):
            with santacoder.load(FILE, threads=1, prefix_cache={str(tmp_path)!r}) as model:
                model.complete(list(range(100, 230)), max_tokens=2)
        while threads() > count:
            time.sleep(0.001)
        assert len(os.listdir("/proc/self/fd")) == descriptors
    """)
