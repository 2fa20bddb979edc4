"""What it is worth that requests for an adapter go to replicas that hold it: `python -m tests.measured_routing`
prints the table of docs/how-to/adapters.md.

Four replicas on a real Ray Serve, of which one, two or three hold the adapter, as after a replica has started or
while an adapter is loaded. One that does not hold it must load it first, which takes `--load-ms`; it does not keep
it, so that the share of the holders stays what it is. Each case is asked through Serve's own router, and through the
product's.
"""

import argparse
import asyncio
import os
import statistics
import time
from types import MappingProxyType

import ray
from ray import serve
from ray.serve.config import RequestRouterConfig
from ray.serve.handle import DeploymentHandle

from deployments.lora.types import Adapter
from deployments.models.protocol import ModelRequest
from deployments.models.router import ADAPTERS, ObservedRouter

REPLICAS = 4
CONCURRENT = 4
REQUESTS = 400
STATS_PERIOD_S, SETTLING_S = 0.5, 4.0
PREFILL_MS = 20
PIRATE = Adapter("guide", "pirate", "pirate", "a" * 64, 8, 1)
ROUTERS = MappingProxyType(
    {
        "Serve's": "ray.serve._private.request_router.pow_2_router.PowerOfTwoChoicesRequestRouter",
        "by adapter": f"{ObservedRouter.__module__}.{ObservedRouter.__qualname__}",
    }
)


class Replica:
    """Answers an adapter's request with whether it held the adapter."""

    def __init__(self, load_ms: float) -> None:
        self._load_s = load_ms / 1000
        self._holds = False

    def record_routing_stats(self) -> dict[str, list[str]]:
        return {ADAPTERS: [PIRATE.key] if self._holds else []}

    async def number(self, _: int) -> str:
        await asyncio.sleep(0.05)
        return serve.get_replica_context().replica_id.unique_id

    async def hold(self, holders: list[str]) -> None:
        self._holds = serve.get_replica_context().replica_id.unique_id in holders

    async def answer(self, _: ModelRequest) -> bool:
        if not self._holds:
            await asyncio.sleep(self._load_s)
        await asyncio.sleep(PREFILL_MS / 1000)
        return self._holds


def deployed(name: str, router: str, load_ms: float) -> DeploymentHandle:
    """Run the replicas behind a router; `name` is that of one application alone, whose handles keep their router."""
    configuration = RequestRouterConfig(request_router_class=router, request_routing_stats_period_s=STATS_PERIOD_S)  # pyright: ignore[reportArgumentType]
    deployment = serve.deployment(
        Replica,
        num_replicas=REPLICAS,
        max_ongoing_requests=64,
        ray_actor_options={"num_cpus": 0.1},
        request_router_config=configuration,
    )
    return serve.run(deployment.bind(load_ms), name=name, route_prefix=None)


async def measured(handle: DeploymentHandle, holders: int) -> tuple[float, float, float]:
    """Return the share of requests that reached a holder, and the median and 95th percentile of the time, in ms."""
    found = set[str]()
    while len(found) < REPLICAS:
        found |= set(await asyncio.gather(*(handle.number.remote(at) for at in range(4 * REPLICAS))))
    await _all_hear(handle, sorted(found)[:holders])
    await asyncio.sleep(SETTLING_S)
    took_ms, held = list[float](), 0

    async def client() -> None:
        nonlocal held
        for at in range(REQUESTS // CONCURRENT):
            began = time.perf_counter()
            has_held = await handle.answer.remote(ModelRequest(str(at), b"{}", False, adapter=PIRATE))
            held += has_held
            took_ms.append((time.perf_counter() - began) * 1000)

    await asyncio.gather(*(client() for _ in range(CONCURRENT)))
    return held / len(took_ms), statistics.median(took_ms), statistics.quantiles(took_ms, n=20)[-1]


async def _all_hear(handle: DeploymentHandle, holders: list[str]) -> None:
    results = await handle.broadcast("hold", holders).results_async()
    assert len(results) == REPLICAS


async def rows(handle: DeploymentHandle, name: str) -> None:
    """Print the lines of one router."""
    for holders in range(1, REPLICAS):
        share, p50, p95 = await measured(handle, holders)
        print(f"| {holders} of {REPLICAS} | {name} | {share:.0%} | {p50:.0f} ms | {p95:.0f} ms |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--load-ms", type=float, default=300.0)
    options = parser.parse_args()
    ray.init("local", num_cpus=REPLICAS, include_dashboard=False, log_to_driver=False)
    serve.start(proxy_location="Disabled")
    print(f"{REQUESTS} requests, {CONCURRENT} at a time; load average {os.getloadavg()[0]:.1f}")
    print("| replicas with the adapter | router | requests that reached one | p50 | p95 |")
    print("| --- | --- | --- | --- | --- |")
    for name, router in ROUTERS.items():
        application = name.replace("'", "").replace(" ", "-")
        asyncio.run(rows(deployed(application, router, options.load_ms), name))
        serve.delete(application)
    serve.shutdown()
    ray.shutdown()


if __name__ == "__main__":
    main()
