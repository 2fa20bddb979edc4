"""A Ray cluster on machines of its own, as the documentation says to start one, with the service deployed on it."""

import json
import os
import secrets
import shlex
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence, Set
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from deployments.infra.ray import variables
from deployments.local.apply.cluster import Cluster as Dashboard
from deployments.local.apply.cluster import Deployed, Unreachable
from tests.cluster import stores
from tests.cluster.namespaces import ROOT, Machine, machines
from tests.folders import roomy_memory
from tests.launched import ARTIFACTS, FOREIGN

GCS_PORT, API_PORT, DASHBOARD_PORT = 6390, 8000, 8265
BIN = ROOT / ".venv/bin"
WHOLE_S = 400.0
WORKERS = ("w1", "w2", "w3")


@dataclass
class RayCluster:
    """A cluster that serves."""

    head: Machine
    workers: list[Machine]
    key: str

    @property
    def nodes(self) -> list[Machine]:
        return [self.head, *self.workers]

    def start_head(self) -> None:
        """Start Ray on the head."""
        address = self.head.address
        options = ["--head", f"--port={GCS_PORT}", f"--dashboard-host={address}", f"--dashboard-port={DASHBOARD_PORT}"]
        self.head.run(str(BIN / "ray"), "start", *given(self.head), *options, "--num-cpus=0")

    def start_worker(self, worker: Machine) -> None:
        """Start Ray on a worker, which joins the head; as an init system does, start it again whenever it ends."""
        options = [f"--address={self.head.address}:{GCS_PORT}", "--num-cpus=2", f'--resources={{"{worker.name}": 100}}']
        command = shlex.join([str(BIN / "ray"), "start", "--block", *given(worker), *options])
        worker.start("sh", "-c", f"while :; do {command}; sleep 1; done")

    def replicas(self, deployment: str = "") -> dict[str, Machine]:
        """Return the ids of running replicas, of one deployment or of all, with their nodes; raises Unreachable."""
        nodes = {node.address: node for node in self.nodes}
        return {
            replica["replica_id"]: nodes[replica["node_ip"]]
            for application in self.deployed().applications.values()
            for name, one in application["deployments"].items()
            for replica in one["replicas"]
            if replica["state"] == "RUNNING" and deployment in ("", name)
        }

    def replicas_on(self, node: Machine) -> set[str]:
        """Return the ids of what runs on a node."""
        return {replica for replica, place in self.replicas().items() if place is node}

    def drain(self, node: Machine, within_s: float) -> None:
        """Ask the cluster to move everything off a node."""
        told = self.head.run(str(BIN / "ray"), "list", "nodes", "--format=json", "--limit=100")
        alive = [one for one in json.loads(told[told.index("[") :]) if one["state"] == "ALIVE"]
        nodes = {one["node_ip"]: one["node_id"] for one in alive}
        options = ["--node-id", nodes[node.address], "--reason=DRAIN_NODE_REASON_PREEMPTION", "--reason-message=test"]
        address = f"--address={self.head.address}:{GCS_PORT}"
        self.head.run(str(BIN / "ray"), "drain-node", address, *options, f"--deadline-remaining-seconds={within_s:.0f}")

    def deployed(self) -> Deployed:
        """Return what Serve tells of itself; raises Unreachable."""
        token = self.head.environment["RAY_AUTH_TOKEN"]
        dashboard = Dashboard(f"http://{self.head.address}:{DASHBOARD_PORT}", token)
        try:
            return dashboard.read()
        finally:
            dashboard.close()

    def deploy(self, document: dict[str, Any]) -> None:
        """Do what `serve deploy` does."""
        token = self.head.environment["RAY_AUTH_TOKEN"]
        dashboard = Dashboard(f"http://{self.head.address}:{DASHBOARD_PORT}", token)
        end = time.monotonic() + WHOLE_S
        try:
            dashboard.first()
            while True:
                try:
                    return dashboard.put(document)
                except Unreachable:  # Serve's controller takes its time on a busy machine
                    if time.monotonic() > end:
                        raise
        finally:
            dashboard.close()

    def unwell(self, entries: Sequence[Machine], gone: Set[str]) -> list[str]:
        """Return what keeps this cluster from being whole.

        Replicas that are missing, or listed though they are gone, and nodes that do not answer: these, or all that have
        an HAProxy.
        """
        try:
            applications = self.deployed().applications
            serving = [self.head, *{id(node): node for node in self.replicas().values()}.values()]
        except Unreachable as error:
            return [f"the dashboard: {error}"]
        found: list[str] = []
        for name, application in applications.items():
            for deployment in application["deployments"].values():
                running = [one["replica_id"] for one in deployment["replicas"] if one["state"] == "RUNNING"]
                if len(running) != deployment["target_num_replicas"] or gone.intersection(running):
                    found.append(f"{name}: {deployment['name']} has {len(running)} replicas")
        answers = [(node.name, self.asked(node)) for node in entries or serving]
        return found + [f"{name} answers {said}" for name, said in answers if said != 200]

    def asked(self, node: Machine) -> int | str:
        """Return what a node answers with: a status, or the error's name."""
        try:
            return httpx.get(url(node) + "/v1/models", headers=self.headers, timeout=2, trust_env=False).status_code
        except httpx.HTTPError as error:
            return type(error).__name__

    @property
    def headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.key}"}

    def wait_until_whole(
        self, gone: Set[str] = frozenset(), entries: Sequence[Machine] = (), within_s: float = WHOLE_S
    ) -> None:
        """Wait until as many replicas run as should, none of those that are gone, and the nodes answer."""
        end = time.monotonic() + within_s
        while reasons := self.unwell(entries, gone):
            if time.monotonic() > end:
                raise AssertionError(f"the cluster is not whole after {within_s:.0f} s: {reasons}")
            time.sleep(0.2)


def url(node: Machine) -> str:
    return f"http://{node.address}:{API_PORT}"


def given(node: Machine) -> list[str]:
    """Return the options of `ray start` on any node."""
    return [f"--node-ip-address={node.address}", "--object-store-memory=100000000", "--disable-usage-stats"]


@contextmanager
def ray_cluster(
    document: Callable[[list[Machine]], dict[str, Any]], workers: tuple[str, ...] = WORKERS
) -> Iterator[RayCluster]:
    """Start stores, a head and workers; deploy; wait until all is healthy; remove them all."""
    folder = Path(tempfile.mkdtemp(prefix="chatllm-test-", dir=roomy_memory()))
    token = secrets.token_hex(32)
    try:
        with machines(folder, "stores", "head", *workers) as (store, head, *others):
            for machine in (store, head, *others):
                machine.environment = environment(token, stores.urls(store.address))
            store.start(str(BIN / "python"), "-m", "tests.cluster.stores", "/tmp", store.address)
            cluster = RayCluster(head, others, "")
            try:
                cluster.start_head()
                for worker in others:
                    cluster.start_worker(worker)
                cluster.deploy(document(others))
                cluster.key = head.run(str(BIN / "chatllm"), "keys", "create", "test", "--concurrent", "0").strip()
                cluster.wait_until_whole()
                yield cluster
            except BaseException:
                keep_logs(folder)
                raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def environment(token: str, stores: dict[str, str]) -> dict[str, str]:
    """Return the variables of a node."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
    return {
        **inherited,
        **variables.for_cluster(),
        **stores,
        "RAY_AUTH_TOKEN": token,
        "PYTHONPATH": str(ROOT),
        "PATH": f"{BIN}:{os.environ['PATH']}",
    }


def keep_logs(folder: Path) -> None:
    """Copy the logs of all nodes to where failures are looked into."""
    for logs in folder.glob("*/tmp/ray/session_*/logs"):
        if not logs.parent.is_symlink():
            with suppress(OSError, shutil.Error):
                shutil.copytree(logs, ARTIFACTS / folder.name / logs.parts[-5], dirs_exist_ok=True, symlinks=True)
