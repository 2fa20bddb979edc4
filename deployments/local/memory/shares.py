"""The memory plan, put into the service file that is deployed; and what this machine has."""

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

import psutil

from deployments.local.checks import available_gib, memory_limit_bytes
from deployments.local.hardware import gpu_bytes
from deployments.local.memory.plan import GIB, Machine, Share, plan
from deployments.local.service_document import deployments_of, model_applications, settings_of
from deployments.local.service_file import ServiceFile

Tree = dict[str, Any]


def with_memory(service: ServiceFile, machine: Machine) -> ServiceFile:
    """Return the service with a share for each vLLM model that sets none; LauncherError if they cannot fit."""
    document = copy.deepcopy(service.document)
    applications = {application["args"]["id"]: application for application in model_applications(document)}
    shares = plan(service.settings, placed_replicas(document), machine)
    for identifier, application in applications.items():
        if share := shares.get(identifier):
            _set(application["args"], next(iter(deployments_of(application)), None), share)
    return replace(service, document=document, settings=settings_of(document))


def placed_replicas(document: Tree) -> dict[str, int]:
    """Return how many replicas the deployments of models start with, where the file says so."""
    applications = model_applications(document)
    return {str(one.get("name")): _replicas(one) for application in applications for one in deployments_of(application)}


def this_machine() -> Machine:
    """Return what this machine has now; less in a container that is limited."""
    total = psutil.virtual_memory().total
    limit = memory_limit_bytes()
    return Machine(int(available_gib() * GIB), min(total, limit) if limit else total, gpu_bytes())


def _replicas(deployment: Tree) -> int:
    """Return how many replicas a deployment starts with."""
    scaling: Any = deployment.get("autoscaling_config")
    if isinstance(scaling, dict):
        bounds = cast(Mapping[str, Any], scaling)
        return max(1, int(bounds.get("initial_replicas") or bounds.get("min_replicas") or 1))
    number: Any = deployment.get("num_replicas")
    return number if isinstance(number, int) and number > 0 else 1


def _set(model: Tree, deployment: Tree | None, share: Share) -> None:
    engine: Tree = model["engine"]
    if share.kv_cache_bytes is not None:
        engine["kv_cache_memory_bytes"] = share.kv_cache_bytes
    if share.gpu_memory_utilization is not None:
        engine["gpu_memory_utilization"] = share.gpu_memory_utilization
    if share.num_gpus is not None and deployment is not None:
        options: Tree = deployment.setdefault("ray_actor_options", {})
        if options.get("num_gpus") in (None, 1):  # what the launcher has put there, and not a part that the file names
            options["num_gpus"] = share.num_gpus
