"""The application for Ray Serve: one door, and its replicas."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

from ray import serve
from ray.serve.config import RequestRouterConfig

from santacoder.conversion.find_model import ModelOptions
from santacoder.integrations.ray_serve.door import make_door
from santacoder.integrations.ray_serve.replica import Replica
from santacoder.integrations.ray_serve.router import BeginningRouter
from santacoder.server import Settings
from santacoder.sources.model_name import ModelName

REPLICAS: Final = "santacoder-replica"
DOOR: Final = "santacoder-door"
HEALTH: Final = 2.0  # seconds until Ray notices that a replica died, and starts another one


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be deployed.

    Attributes:
        name: of the model, which must mean the same file on each machine of the cluster.
        options: what the machines look for beside the name.
        sha256: of the file's bytes.
        replicas: how many models to load; the fewest, if `most` is given.
        most: the most replicas; Ray chooses how many, by their load. None is a fixed number.
        threads: of each; Ray reserves as many CPUs.
        context: of each; None is the model's.
        packed: whether replicas of a machine share packed weights.
        settings: of the server.
        quiet: whether replicas log only what failed.
    """

    name: ModelName
    options: ModelOptions
    sha256: str
    replicas: int
    most: int | None
    threads: int
    context: int | None
    packed: bool
    settings: Settings
    quiet: bool


def application(plan: Plan) -> Any:
    """Return the application, for `ray.serve.run`."""
    settings = plan.settings
    # Each replica refuses what it has no room for, at once and in the client's dialect, so Ray must let that through.
    let_through = 2 * (settings.max_running + settings.max_queue) + 64
    most = plan.most or plan.replicas
    size: dict[str, Any] = {"num_replicas": plan.replicas}
    if plan.most is not None:
        target = max(settings.max_running // 2, 1)  # batches pay, so one more replica has to be worth it
        bounds = {"min_replicas": plan.replicas, "max_replicas": plan.most}
        size = {"autoscaling_config": {**bounds, "target_ongoing_requests": target}}
    replicas = serve.deployment(
        Replica,
        name=REPLICAS,
        ray_actor_options={"num_cpus": plan.threads},
        max_ongoing_requests=let_through,
        max_queued_requests=let_through * most,
        graceful_shutdown_timeout_s=settings.drain,
        health_check_period_s=HEALTH,
        request_router_config=RequestRouterConfig(request_router_class=BeginningRouter),
        **size,
    )
    inner = replace(settings, api_keys=(), host="0.0.0.0")  # the door has checked keys and hosts
    model = plan.name, plan.options, plan.sha256, plan.threads, plan.context, plan.packed
    bound = replicas.bind(*model, inner, plan.quiet)

    def build() -> Any:
        return make_door(REPLICAS, settings)

    door = serve.deployment(
        serve.ingress(build)(),
        name=DOOR,
        ray_actor_options={"num_cpus": 0},
        max_ongoing_requests=2 * let_through * most,
        graceful_shutdown_timeout_s=settings.drain,
    )
    return door.bind(bound)
