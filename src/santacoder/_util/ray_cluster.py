"""The Ray cluster that a command uses: one that runs, or a new one on this machine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from santacoder.errors import InvalidRequestError, MissingPackageError, SantaCoderError

LOCAL: Final = "local"  # Ray's address of a new cluster on this machine


@dataclass(frozen=True, slots=True)
class RayCluster:
    """A cluster that this process is connected to.

    Attributes:
        ray: the module `ray`.
        is_new: whether it was started for this process, on this machine.
    """

    ray: Any
    is_new: bool

    def threads_of_each(self, count: int, what: str, threads: int | None, allowed: int) -> int:
        """Return the threads of each of `count` workers; check that all fit at once: Ray would wait forever for room.

        Args:
            count: how many workers, 1 or more.
            what: they are called, in the plural.
            threads: of each; None is `allowed`, which the workers of a new cluster share.
            allowed: what this machine allows.

        Raises:
            InvalidRequestError: the cluster is too small.
        """
        if threads is None:
            threads = max(1, allowed // count) if self.is_new else allowed
        cpus = self.ray.cluster_resources().get("CPU", 0)
        if cpus < count * threads:
            raise InvalidRequestError(
                f"{count} {what} of {threads} threads need {count * threads} CPUs, but the cluster has {cpus:g}"
            )
        return threads


@contextmanager
def ray_cluster(address: str | None, needed_by: str, extra: str = "ray", logs: bool = False) -> Iterator[RayCluster]:
    """Connect to a cluster for the block, unless this process is connected already.

    Args:
        address: None is that of RAY_ADDRESS, else a new cluster on this machine.
        needed_by: what needs Ray, for the error where it is not installed.
        extra: the extra of this package that has what is needed.
        logs: whether output of the workers comes to this process.

    Raises:
        MissingPackageError: Ray is not installed.
        InvalidRequestError: there is no cluster at the address.
        SantaCoderError: a task or an actor failed, or the cluster.
    """
    try:
        import ray
    except ImportError:
        raise MissingPackageError(f"{needed_by} needs Ray: `pip install santacoder[{extra}]`") from None
    address = (
        address or os.environ.get("RAY_ADDRESS") or LOCAL
    )  # without one Ray would join any cluster on this machine
    connected = ray.is_initialized()
    if not connected:
        _connect(ray, address, logs)
    try:
        yield RayCluster(ray, is_new=not connected and address == LOCAL)
    except ray.exceptions.RayTaskError as error:
        cause = error.cause
        raise (cause if isinstance(cause, SantaCoderError) else SantaCoderError(f"an actor failed: {cause}")) from None
    except ray.exceptions.RayError as error:
        raise SantaCoderError(f"the Ray cluster failed: {str(error).strip().splitlines()[-1]}") from None
    finally:
        if not connected:
            ray.shutdown()


def _connect(ray: Any, address: str, logs: bool) -> None:
    try:
        ray.init(address=address, log_to_driver=logs, include_dashboard=False if address == LOCAL else None)
    except (ValueError, ConnectionError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InvalidRequestError(f"no Ray cluster can be used at the address {address!r}: {reason}") from None
