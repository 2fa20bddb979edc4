"""Parts of a cluster die while it serves. For each: requests failed, longest gap, time until it is whole again.

The figures go into artifacts/cluster.md, from which docs/explanation/promises.md has its table.
"""

import asyncio
import os
import signal
import time
from collections.abc import AsyncGenerator, Set
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from tests.cluster.load import Load, load
from tests.cluster.namespaces import Machine
from tests.cluster.ray_cluster import RayCluster
from tests.launched import ARTIFACTS

pytestmark = [pytest.mark.alone, pytest.mark.slow, pytest.mark.timeout(1200)]

CUT_S = float(os.environ.get("CLUSTER_CUT_S", "8"))
"""How long a cable is out; past 30 s or so the cluster gives the node up."""
HEAD_AWAY_S = 5
SLOW_S = 1.5
"""Answers that took longer are noted in artifacts/cluster.log, beside what failed."""


@dataclass
class Fault:
    """What happened during one fault; `lost` are the nodes whose own addresses may not answer meanwhile."""

    name: str
    lost: list[str]
    load: Load = field(default_factory=Load)
    whole_s: float = 0.0

    @property
    def elsewhere(self) -> int:
        """How many requests failed that were asked of other nodes."""
        return len(self.load.failed(self.lost))

    def row(self) -> str:
        gap_s, slowest_s = self.load.longest_gap_s(self.lost), self.load.slowest_s(self.lost)
        counts = f"{len(self.load.attempts)} | {len(self.load.failed())} | {self.elsewhere}"
        return f"| {self.name} | {counts} | {gap_s:.1f} s | {slowest_s:.1f} s | {self.whole_s:.0f} s |\n"


@asynccontextmanager
async def fault(
    cluster: RayCluster, name: str, lost: Machine | None = None, gone: Set[str] = frozenset()
) -> AsyncGenerator[Fault]:
    """Keep a load on all nodes while the block breaks something, until the cluster is whole without what is `gone`."""
    told = Fault(name, [lost.name] if lost else [])
    entries = [node for node in cluster.nodes if cluster.asked(node) == 200]  # those with a replica, and the head
    places = {replica: place.name for replica, place in cluster.replicas().items()}
    async with load(cluster, entries, "shared", "steady") as told.load:
        began = time.monotonic()
        yield told
        if lost in entries:
            entries.remove(lost)
        await asyncio.to_thread(cluster.wait_until_whole, gone, entries)
        told.whole_s = time.monotonic() - began
    ARTIFACTS.mkdir(exist_ok=True)
    with (ARTIFACTS / "cluster.md").open("a") as file:
        file.write(told.row())
    with (ARTIFACTS / "cluster.log").open("a") as file:
        file.write(f"{name}: {places}\n")
        noted = [one for one in told.load.attempts if one.failure or one.took_s > SLOW_S]
        file.writelines(f"{name}: {one.took_s:.1f} s, {one}\n" for one in noted)


def busy(cluster: RayCluster) -> Machine:
    """Return a worker with replicas, other than the last one, which no test breaks."""
    return next(worker for worker in cluster.workers[:-1] if cluster.replicas_on(worker))


def restart(cluster: RayCluster, worker: Machine) -> None:
    worker.kill()
    worker.boot()
    cluster.start_worker(worker)


async def test_an_ingress_replica_is_killed(cluster: RayCluster) -> None:
    """Streams that it was writing end; what it had not begun to answer, another replica answers."""
    node = next(iter(cluster.replicas("Ingress").values()))
    async with fault(cluster, "ingress replica killed") as told:
        os.kill(node.processes("ServeReplica:chatllm:Ingress")[0], signal.SIGKILL)
        await asyncio.sleep(3)  # until Serve knows
    assert told.elsewhere <= 4, told.load.failed()


async def test_the_controller_is_killed(cluster: RayCluster) -> None:
    """Nobody notices: replicas and HAProxy go on without it."""
    async with fault(cluster, "Serve's controller killed") as told:
        (pid,) = cluster.head.processes("ServeController")
        os.kill(pid, signal.SIGKILL)
    assert not told.load.failed()


async def test_a_worker_is_cut_off_and_comes_back(cluster: RayCluster) -> None:
    victim = busy(cluster)
    async with fault(cluster, f"worker cut off for {CUT_S:.0f} s", victim) as told:
        victim.cut()
        await asyncio.sleep(CUT_S)
        victim.mend()
    assert told.elsewhere <= 8, told.load.failed()
    assert told.load.longest_gap_s(told.lost) < CUT_S, "other nodes need not wait for its return"
    await asyncio.to_thread(cluster.wait_until_whole)


async def test_a_worker_is_killed(cluster: RayCluster) -> None:
    """Its replicas are started on other nodes."""
    victim = busy(cluster)
    gone = cluster.replicas_on(victim)
    async with fault(cluster, "worker killed", victim, gone) as told:
        victim.kill()
    assert gone
    assert told.elsewhere <= 8, told.load.failed()
    restart(cluster, victim)


async def test_a_node_is_drained(cluster: RayCluster) -> None:
    """Its replicas are started elsewhere before they end here: nothing fails."""
    victim = busy(cluster)
    gone = cluster.replicas_on(victim)
    async with fault(cluster, "node drained", victim, gone) as told:
        await asyncio.to_thread(cluster.drain, victim, 120)
    assert gone
    assert told.elsewhere == 0, told.load.failed()
    restart(cluster, victim)


async def test_the_head_is_killed_and_restarted(cluster: RayCluster) -> None:
    """With its state in Valkey, the workers find it again and keep their replicas."""
    before = cluster.replicas("steady")
    async with fault(cluster, f"head killed, back after {HEAD_AWAY_S} s", cluster.head) as told:
        cluster.head.kill()
        await asyncio.sleep(HEAD_AWAY_S)
        cluster.head.boot()
        await asyncio.to_thread(cluster.start_head)
    assert cluster.replicas("steady") == before
    assert told.elsewhere == 0, told.load.failed()
