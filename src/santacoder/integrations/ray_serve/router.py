"""Chooses the replica of a request: the one that has read the beginning of its prompt."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any, Final

from ray.serve.request_router import PendingRequest, RequestRouter, RunningReplica

from santacoder.integrations.ray_serve.call import Call

#: How many requests a replica may have above the mean of all, as a factor and a number, before another one gets them.
FACTOR: Final = 1.25
SLACK: Final = 2.0


class BeginningRouter(RequestRouter):  # type: ignore[misc]
    """Sends equal beginnings to the same replica while that has not much more to do than the others.

    Each replica ranks by a hash of the beginning and its own id (rendezvous hashing), so all doors choose alike without
    a word between them, and when a replica comes or goes only the beginnings move that are its own. Ray's own
    PrefixCacheAffinityRouter would know more of each prompt, but needs the packages of `ray[llm]`, keeps all prompts in
    an actor, and blocks the event loop to ask it.
    """

    async def choose_replicas(
        self, candidate_replicas: list[RunningReplica], pending_request: PendingRequest | None = None
    ) -> list[list[RunningReplica]]:
        """Return the replicas in the order in which they are to be tried; those of one list by their load."""
        if pending_request is None:
            return [candidate_replicas]
        pending_request.routing_context.should_backoff = True  # when all are full, wait before the next look
        beginning = _beginning(pending_request.args)
        if beginning is None:
            return [candidate_replicas]
        running = {each.replica_id.unique_id: each for each in candidate_replicas}
        loads = {id: self.replica_queue_len_cache.get(each.replica_id) or 0 for id, each in running.items()}
        return [[running[id]] for id in ranked(beginning, loads)]


def ranked(beginning: bytes, loads: dict[str, int]) -> list[str]:
    """Return the ids of replicas in the order in which a beginning is offered to them.

    Args:
        beginning: a digest.
        loads: how many requests each replica has.
    """
    order = sorted(loads, key=lambda id: blake2b(beginning + id.encode(), digest_size=8).digest())
    most = FACTOR * (sum(loads.values()) + 1) / max(len(loads), 1) + SLACK
    return sorted(order, key=lambda id: loads[id] + 1 > most)


def _beginning(args: list[Any]) -> bytes | None:
    return next((each.beginning for each in args if isinstance(each, Call)), None)
