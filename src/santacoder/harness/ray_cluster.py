"""A sample source on a Ray cluster: actors that each hold a model and work off the samples in portions.

A sample depends only on its prompt, the seed and its number, not on which actor generates it or how many there are.
When an actor dies, its unfinished portions are generated again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from santacoder._util.ray_cluster import ray_cluster
from santacoder._util.validation import check_integer
from santacoder.batching.policy import ALIKE, MAX_RUNNING
from santacoder.conversion.find_model import DEFAULTS, ModelOptions, find_model
from santacoder.engine.cpus import default_threads
from santacoder.errors import InvalidRequestError
from santacoder.gguf.digest import model_sha256
from santacoder.harness.record import SampleRecord
from santacoder.harness.sampling_run import Sampling, sample_problems
from santacoder.harness.tasks import Problem
from santacoder.model import SantaCoder
from santacoder.sources.model_name import ModelName
from santacoder.sources.packed import can_pack

#: Portions in an actor at a time. They share its batch, so the second keeps it full while the first runs out.
PORTIONS: Final = 2
RETRIES: Final = 100  # restarts of an actor, and of a portion


def same_file(name: ModelName, options: ModelOptions, sha256: str) -> Path:
    """Return the file that a model's name means on this machine of a cluster.

    Raises:
        InvalidRequestError: its bytes have another SHA-256.
        SantaCoderError: there is none, or the download or the conversion failed.
    """
    path = Path(find_model(name, options))
    if model_sha256(path) != sha256:
        raise InvalidRequestError(f"{path} is not the same file on every machine of the cluster")
    return path


class RayWorker:
    """An actor that holds a model and generates samples."""

    def __init__(self, name: ModelName, options: ModelOptions, sha256: str, threads: int, context: int | None) -> None:
        """Load the model that the name means on this machine.

        Raises:
            InvalidRequestError: its file differs from the run's.
        """
        path = same_file(name, options, sha256)
        self._model = SantaCoder.load(path, threads, context, packed=can_pack())  # shared by the actors of a machine

    def run(self, wanted: Sequence[tuple[Problem, int]], sampling: Sampling) -> list[SampleRecord]:
        """Generate the wanted samples."""
        return list(sample_problems(self._model, wanted, sampling))


@dataclass(frozen=True, slots=True)
class RaySamples:
    """A Ray cluster; the model's name must mean the same file on each of its machines.

    Attributes:
        path: the GGUF file on this one.
        sha256: of its bytes.
        actors: how many models to load, 1 or more.
        threads: of each actor; None is what this machine allows, which the actors of a cluster started here share.
        context: of each actor; None is the model's.
        address: of the cluster; None is the one that this process is connected to, else that of RAY_ADDRESS, else
            a new one on this machine.
        name: what the machines find the model by; None is `path`.
        options: what they look for beside the name.
    """

    path: Path
    sha256: str
    actors: int
    threads: int | None = None
    context: int | None = None
    address: str | None = None
    name: ModelName | None = None
    options: ModelOptions = DEFAULTS

    def run(self, wanted: Sequence[tuple[Problem, int]], sampling: Sampling) -> Iterator[SampleRecord]:
        """See `SampleSource.run`.

        Raises:
            MissingPackageError: Ray is not installed.
            InvalidRequestError: `actors` or `threads` is out of range, there is no cluster at the address, or it is
                too small.
            SantaCoderError: an actor cannot work.
        """
        check_integer("actors", self.actors, 1, None)
        if self.threads is not None:
            check_integer("threads", self.threads, 1, None)
        with ray_cluster(self.address, "--engine ray") as cluster:
            threads = cluster.threads_of_each(self.actors, "actors", self.threads, default_threads())
            yield from self._run(cluster.ray, threads, wanted, sampling)

    def _run(
        self, ray: Any, threads: int, wanted: Sequence[tuple[Problem, int]], sampling: Sampling
    ) -> Iterator[SampleRecord]:
        kind = ray.remote(
            num_cpus=threads, max_restarts=RETRIES, max_task_retries=RETRIES, max_concurrency=PORTIONS
        )(RayWorker)  # fmt: skip
        model = (self.name or ModelName(str(self.path)), self.options, self.sha256)
        actors = [kind.remote(*model, threads, self.context) for _ in range(self.actors)]
        size = ALIKE * MAX_RUNNING // PORTIONS
        portions = (wanted[start : start + size] for start in range(0, len(wanted), size))
        working: dict[Any, Any] = {}
        for actor in actors * PORTIONS:
            if portion := next(portions, None):
                working[actor.run.remote(portion, sampling)] = actor
        while working:
            for done in ray.wait(list(working))[0]:
                actor = working.pop(done)
                if portion := next(portions, None):
                    working[actor.run.remote(portion, sampling)] = actor
                yield from ray.get(done)
