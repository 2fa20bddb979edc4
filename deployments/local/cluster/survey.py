"""Asking all nodes of a cluster: one process on each, started by Ray, which must therefore run on this machine."""

import concurrent.futures
import os
import socket
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import httpx
import ray
from ray.exceptions import GetTimeoutError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from deployments.local.apply.cluster import APPLICATIONS
from deployments.local.cluster import probe
from deployments.local.cluster.report import NodeReport, Survey
from deployments.local.state import LauncherError

ANSWER_S = 60.0
"""For a node's process to start and answer; its imports take some seconds on a busy machine."""
CLOCK_ROUNDS = 3
HEAD = "node:__internal_head__"


class Probe:
    """A process on a node."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._listener: socket.socket | None = None

    def report(self) -> NodeReport:
        """Describe the node."""
        return probe.report(self._address)

    def listen(self) -> int:
        """Listen as a replica does; returns the port."""
        self._listener = self._listener or probe.listen()
        return self._listener.getsockname()[1]

    def unreached(self, peers: Mapping[str, tuple[str, int]]) -> dict[str, str]:
        """Return what cannot be reached from here."""
        return probe.unreached(peers)

    def open_doors(self, doors: Mapping[str, tuple[str, int]]) -> list[str]:
        """Return which of these are open to this node."""
        return [name for name, (host, port) in doors.items() if probe.is_open(host, port)]

    def now(self) -> float:
        """Return the node's clock."""
        return time.time()


def survey(address: str) -> Survey:
    """Ask every node of the cluster that this machine is part of; LauncherError where there is none.

    A node that does not answer within a minute is reported as such.
    """
    try:
        context: Any = ray.init(address=address, log_to_driver=False, configure_logging=False)
    except (ConnectionError, RuntimeError) as error:
        raise LauncherError(f"no cluster at {address!r}: {error}") from None
    try:
        return _survey(str(context.dashboard_url or ""))
    finally:
        ray.shutdown()


def here() -> Survey:
    """Describe this machine alone, as it is before Ray starts on it."""
    report = probe.report("127.0.0.1")
    return Survey({report.name: report})


def _survey(dashboard: str) -> Survey:
    alive = [node for node in ray.nodes() if node["Alive"]]
    names = _names(alive)
    addresses = {names[node["NodeID"]]: str(node["NodeManagerAddress"]) for node in alive}
    probes = {names[node["NodeID"]]: _start(node) for node in alive}
    reports, silent = _answers({name: actor.report.remote() for name, actor in probes.items()})
    # A machine may be named otherwise by itself than by Ray; all the findings use Ray's name.
    reports = {name: replace(report, name=name) for name, report in reports.items()}
    probes = {name: actor for name, actor in probes.items() if name in reports}
    head = next((names[node["NodeID"]] for node in alive if HEAD in node["Resources"]), "")
    exposed = {name: _exposed(name, addresses, probes) for name in reports}
    if head and (door := _dashboard_door(dashboard)):
        exposed[head] = (*exposed.get(head, ()), door)
    gone = {str(node["NodeManagerAddress"]) for node in ray.nodes() if not node["Alive"]} - {*addresses.values()}
    unreached, clocks = _unreached(probes, addresses), _clocks(probes)
    return Survey(reports, head, silent, tuple(sorted(gone)), unreached, clocks, exposed)


def _names(nodes: list[dict[str, Any]]) -> dict[str, str]:
    """Return a name for each node's id: its host's name, with the address where that is not unique."""
    hosts = [node["NodeManagerHostname"] for node in nodes]
    return {
        node["NodeID"]: host if hosts.count(host) == 1 else f"{host} ({node['NodeManagerAddress']})"
        for node, host in zip(nodes, hosts, strict=True)
    }


def _start(node: dict[str, Any]) -> Any:
    strategy: Any = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)  # Ray's stubs do not know it here
    return ray.remote(num_cpus=0, scheduling_strategy=strategy)(Probe).remote(node["NodeManagerAddress"])


def _answers(asked: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Wait for all; return what came by name, and why the others did not."""
    came: dict[str, Any] = {}
    silent: dict[str, str] = {}
    end = time.monotonic() + ANSWER_S
    for name, reference in asked.items():
        try:
            came[name] = ray.get(reference, timeout=max(0.0, end - time.monotonic()))
        except GetTimeoutError:
            silent[name] = f"no answer within {ANSWER_S:.0f} s"
        except RayError as error:
            silent[name] = (str(error).strip().splitlines() or [type(error).__name__])[-1]
    return came, silent


def _unreached(probes: Mapping[str, Any], addresses: Mapping[str, str]) -> dict[tuple[str, str], str]:
    ports, _ = _answers({name: actor.listen.remote() for name, actor in probes.items()})
    peers = {name: (addresses[name], port) for name, port in ports.items()}
    asked = {
        name: actor.unreached.remote({other: at for other, at in peers.items() if other != name})
        for name, actor in probes.items()
    }
    failures, _ = _answers(asked)
    return {(name, other): reason for name, found in failures.items() for other, reason in found.items()}


def _exposed(name: str, addresses: Mapping[str, str], probes: Mapping[str, Any]) -> tuple[str, ...]:
    """Return which inner ports of a node another node can open; alone, the node asks itself at its public address."""
    actor = next((actor for other, actor in probes.items() if other != name), probes[name])
    stats = int(os.environ.get("RAY_SERVE_HAPROXY_STATS_PORT", "8404"))
    metrics = int(os.environ.get("RAY_SERVE_HAPROXY_METRICS_PORT", "9101"))
    doors = {
        f"HAProxy's statistics, port {stats}": (addresses[name], stats),
        f"HAProxy's metrics, port {metrics}": (addresses[name], metrics),
    }
    came, _ = _answers({name: actor.open_doors.remote(doors)})
    return tuple(came.get(name, ()))


def _dashboard_door(dashboard: str) -> str:
    """Return what is exposed where Ray's dashboard admits clients without a token."""
    if not dashboard:
        return ""
    try:
        answer = httpx.get(f"http://{dashboard}{APPLICATIONS}", timeout=10, trust_env=False)
    except httpx.HTTPError:
        return ""
    return f"Ray's dashboard, {dashboard}, asks for no token" if answer.status_code == 200 else ""


def _clocks(probes: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
    """Return how far each clock is ahead of this process's: of several calls, the one that took the least time."""
    with concurrent.futures.ThreadPoolExecutor() as pool:
        return dict(zip(probes, pool.map(_clock, probes.values()), strict=True))


def _clock(actor: Any) -> tuple[float, float]:
    best = (0.0, float("inf"))
    for _ in range(CLOCK_ROUNDS):
        before = time.time()
        try:
            there: Any = ray.get(actor.now.remote(), timeout=ANSWER_S)
        except RayError:
            return best
        after = time.time()
        best = min(best, (there - (before + after) / 2, (after - before) / 2), key=lambda one: one[1])
    return best
