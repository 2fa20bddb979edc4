"""What a service file means for the cluster that it is applied to, checked as a whole before anything changes."""

import os
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from deployments.config import VLLMModel
from deployments.local import checks, weights
from deployments.local.hardware import gpus
from deployments.local.instance import Instance
from deployments.local.memory.plan import needed_bytes
from deployments.local.memory.shares import placed_replicas, this_machine, with_memory
from deployments.local.ray.serve_schema import require_room, validated
from deployments.local.service_document import (
    Tree,
    deployments_of,
    main_application,
    model_applications,
    settings_of,
)
from deployments.local.service_file import ServiceFile, parsed, read
from deployments.local.settings import LauncherSettings
from deployments.local.state import LauncherError, StateFolder
from deployments.local.steps import Steps

PLANNED = "kv_cache_memory_bytes"
BOUND = ("host", "port", "root_path")
"""HTTP options that hold for the life of Serve."""


@dataclass(frozen=True, slots=True)
class Target:
    """`document` is what is deployed, `compared` the same as Serve will tell of it."""

    document: Tree
    compared: Tree


def for_instance(record: Instance, state: StateFolder, config: Path, deployed: Tree, steps: Steps) -> Target:
    """Return the target for the service of this machine, completed as at its start; LauncherError if it is wrong."""
    settings = LauncherSettings.read(
        state=state.path,
        config=config,
        port=record.port,
        model=record.chosen_model,
        page_port=record.page_port,
        dashboard_port=record.dashboard_port,
        page=bool(record.page_port),
    )
    weights.prepare(settings, state, steps)
    service = read(settings)
    checks.require_adapters(service.settings.models)
    checks.require_loadable(service.settings)
    if service.uses_gpus:
        checks.require_compiler()
    elif any(isinstance(model, VLLMModel) for model in service.settings.models):
        checks.require_libnuma()
    target = _target(with_memory_beside(service, deployed).document, deployed, config)
    try:
        require_room(validated(target.document), max(2, len(os.sched_getaffinity(0))), len(gpus()))
    except ValueError as error:
        raise LauncherError(f"{config}: {error}") from None
    return target


def for_cluster(config: Path, deployed: Tree) -> Target:
    """Return the target for any cluster: the file as it stands, as `serve deploy` takes it; LauncherError if wrong."""
    document = parsed(config)
    try:
        settings_of(document)
    except ValueError as error:
        raise LauncherError(f"{config}: {error}") from None
    return _target(document, deployed, config)


def _target(document: Tree, deployed: Tree, config: Path) -> Target:
    try:
        schema = validated(document)
    except (ValueError, ImportError, AttributeError) as error:  # it imports the functions that the file names
        raise LauncherError(f"{config}: {error}") from None
    compared: Tree = schema.model_dump(mode="json", exclude_unset=True)
    require_same_server(compared, deployed, config)
    return Target(document, compared)


def require_same_server(wanted: Tree, deployed: Tree, config: Path) -> None:
    """Refuse what Serve does not change while it runs: its address, and the name of the main application."""
    configured, held = wanted.get("http_options") or {}, deployed.get("http_options") or {}
    for name in BOUND:
        if name in configured and name in held and configured[name] != held[name]:
            raise LauncherError(
                f"{config}: http_options.{name} is {configured[name]!r} and the running service has {held[name]!r}: "
                "it changes with a restart alone"
            )
    with suppress(ValueError):  # what is deployed is not of ours
        before, after = main_application(deployed)["name"], main_application(wanted).get("name", "default")
        if before != after:
            raise LauncherError(
                f"{config}: the application of ingress and cache is called {after!r} and the running one {before!r}: "
                "call it so, or restart the service"
            )


def with_memory_beside(service: ServiceFile, deployed: Tree) -> ServiceFile:
    """Plan the memory of what is new or changed; models that go on keep what they have.

    What the running models hold is free for the plan, because it counts them again.
    """
    machine = this_machine()
    with suppress(ValueError):
        running = settings_of(deployed)
        held = needed_bytes(running, placed_replicas(deployed), machine)
        machine = replace(machine, available_bytes=machine.available_bytes + held)
    return with_memory(_keeping_memory(service, deployed), machine)


def _keeping_memory(service: ServiceFile, deployed: Tree) -> ServiceFile:
    """Give models whose engine is the same otherwise the KV cache that was planned for them before."""
    before = {str(one.get("name")): one for one in model_applications(deployed)}
    for application in model_applications(service.document):
        new, old = application["args"].get("engine"), _engine(before.get(str(application.get("name"))))
        if new is None or PLANNED in new or PLANNED not in old or _gpus(before[str(application["name"])]):
            continue
        if {name: value for name, value in old.items() if name != PLANNED} == new:
            new[PLANNED] = old[PLANNED]
    return replace(service, settings=settings_of(service.document))


def _engine(application: Tree | None) -> dict[str, Any]:
    return ((application or {}).get("args") or {}).get("engine") or {}


def _gpus(application: Tree) -> bool:
    return any((one.get("ray_actor_options") or {}).get("num_gpus") for one in deployments_of(application))
