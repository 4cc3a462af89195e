"""A run on a local Ray cluster has the bytes of one on this machine, with any number of actors, even if some die."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from santacoder.errors import InvalidRequestError, SantaCoderError
from santacoder.gguf.digest import file_sha256
from santacoder.harness.ray_cluster import RaySamples
from santacoder.harness.sampling_run import LocalSamples, generate
from santacoder.sources.model_name import parse_name
from santacoder.sources.packaged import packaged_model
from tests.support.harness_samples import FILES, SAMPLING, problems_of, settings_of
from tests.support.ray_processes import ray_processes
from tests.support.waiting import HANG

ray: Any = pytest.importorskip("ray")

# These tests are not about resources that Ray itself leaves open.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

MANY = replace(SAMPLING, n_samples=70)  # 210 samples are four portions


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    """Two processors' worth of actors, whatever this machine has."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False, object_store_memory=100 << 20)
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The same run on this machine."""
    return run(tmp_path_factory.mktemp("alone"), LocalSamples(packaged_model(), threads=1))


def run(folder: Path, source: Any) -> bytes:
    problems = problems_of("humaneval")
    generate(folder, problems, settings_of("humaneval", MANY), MANY, source, progress=False)
    return (folder / "samples.jsonl").read_bytes() + (folder / "generations.json").read_bytes()


def ray_samples(actors: int, sha256: str | None = None, path: Path | None = None) -> RaySamples:
    model = path or packaged_model()
    return RaySamples(model, sha256 or file_sha256(packaged_model()), actors, threads=1)


@pytest.mark.parametrize("actors", [1, 2])
def test_the_same_bytes(tmp_path: Path, alone: bytes, actors: int) -> None:
    assert run(tmp_path, ray_samples(actors)) == alone


def test_machines_find_the_model_by_its_name(tmp_path: Path, alone: bytes) -> None:
    """Each on its own disk."""
    source = replace(ray_samples(2), path=Path("nowhere.gguf"), name=parse_name("packaged"))
    assert run(tmp_path, source) == alone


def test_a_killed_actor(tmp_path: Path, alone: bytes) -> None:
    """Two working actors are killed; their unfinished portions are done again. A run may end before that."""
    killed: list[int] = []
    for number in itertools.count():
        over = threading.Event()

        def kill(over: threading.Event = over) -> None:
            while len(killed) < 2 and not over.wait(0.01):
                for pid in ray_processes("RayWorker.run"):
                    if pid not in killed:
                        os.kill(pid, signal.SIGKILL)
                        killed.append(pid)

        killer = threading.Thread(target=kill)
        killer.start()
        try:
            assert run(tmp_path / str(number), ray_samples(2)) == alone
        finally:
            over.set()
            killer.join()
        if len(killed) >= 2:
            break


def test_another_file_on_the_cluster(tmp_path: Path) -> None:
    with pytest.raises(SantaCoderError, match="is not the same file on every machine of the cluster"):
        run(tmp_path, ray_samples(1, sha256="0" * 64))


def test_a_prompt_that_does_not_fit(tmp_path: Path) -> None:
    sampling = replace(SAMPLING, max_length=10)
    with pytest.raises(SantaCoderError, match=r"the prompt of Example/0 has \d+ tokens"):
        generate(
            tmp_path, problems_of("humaneval"), settings_of("humaneval", sampling), sampling, ray_samples(1),
            progress=False,
        )  # fmt: skip


def test_no_actors(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequestError, match="actors is 0"):
        run(tmp_path, ray_samples(0))


def test_too_many_actors(tmp_path: Path) -> None:
    """Ray would let the last one wait forever."""
    few = replace(ray_samples(3), threads=2)
    with pytest.raises(InvalidRequestError, match=r"^3 actors of 2 threads need 6 CPUs, but the cluster has 4$"):
        run(tmp_path, few)


def evaluate(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`santacoder eval humaneval --engine ray` in a process that is not connected to this module's cluster."""
    command = [
        sys.executable, "-m", "santacoder", "eval", "humaneval", "--data", str(FILES["humaneval"]), "--n-samples", "3",
        "-n", "24", "--seed", "5", "--temperature", "0.8", "-m", str(packaged_model()), "--out", str(folder),
        "--engine", "ray", *arguments,
    ]  # fmt: skip
    environment = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
    return subprocess.run(command, capture_output=True, text=True, timeout=HANG, check=False, env=environment)


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="two actors need two CPUs")
def test_the_defaults_on_this_machine(tmp_path: Path) -> None:
    """Two actors share the threads of this machine: if each wanted all, the second would never begin."""
    done = evaluate(tmp_path / "cluster")
    assert done.returncode == 0, done.stderr
    generate(
        tmp_path, problems_of("humaneval"), settings_of("humaneval"), SAMPLING, LocalSamples(packaged_model(), 1),
        progress=False,
    )  # fmt: skip
    assert (tmp_path / "cluster" / "samples.jsonl").read_bytes() == (tmp_path / "samples.jsonl").read_bytes()


@pytest.mark.parametrize("address", ["nonsense", "here:port", "http://here"])
def test_a_bad_address(tmp_path: Path, address: str) -> None:
    done = evaluate(tmp_path, "--ray-address", address)
    assert done.returncode == 1
    assert f"no Ray cluster can be used at the address {address!r}: " in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
