"""Runs the service under load while parts of it are killed and frozen, and checks what must hold afterwards.

    python -m tests.chaos --seconds 60 --seed 1        # `make chaos ARGS=...`

The faults and the questions follow from the seed; when they hit depends on the machine. Exits with 1 where something
was violated. The report is JSON.
"""

import argparse
import asyncio
import json
import sys
from collections import Counter
from typing import Any

from tests.chaos.clients import Client, Tally, Tenant
from tests.chaos.faults import CACHE, INGRESS, MODEL, break_things
from tests.chaos.invariants import CONCURRENT, TOKENS, check, sizes, whole
from tests.launched import Launched, launched, service_file

REPLICAS = {INGRESS: 2, CACHE: 1, MODEL: 2}
CLIENTS = 6
"""Of each tenant."""
MODELS = [{"id": "steady", "kind": "scripted", "tokens": TOKENS, "token_ms": 30}]
SETTINGS = {"responses": {"stale_after_s": 3}, "key_limits": {"timeout_s": 2, "lease_s": 15}}


def main() -> None:
    """Run it and print the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long faults happen (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="which faults happen, and what is asked (%(default)s)")
    options = parser.parse_args()
    with launched(service_file(MODELS, REPLICAS, **SETTINGS)) as service:
        report = asyncio.run(chaos(service, options.seed, options.seconds))
    print(json.dumps(report, indent=2))  # noqa: T201 - it is what this is for
    sys.exit(bool(report["violations"]))


async def chaos(service: Launched, seed: int, seconds: float) -> dict[str, Any]:
    """Return what was done, seen and violated."""
    tally = Tally()
    tenants = [_tenant(service, name) for name in ("amber", "cobalt")]
    await whole(service, REPLICAS)
    clients = [
        Client(service.url, tenant, [other.name for other in tenants if other is not tenant], tally, seed * 1000 + at)
        for at, tenant in enumerate(tenants * CLIENTS)
    ]
    tasks = [asyncio.create_task(client.ask_for_ever()) for client in clients]
    await asyncio.sleep(5)
    before = sizes(service)
    faults = await break_things(service, seed, seconds)
    await asyncio.sleep(5)
    for task in tasks:
        task.cancel()
    ended = await asyncio.gather(*tasks, return_exceptions=True)
    for error in ended:
        if not isinstance(error, asyncio.CancelledError):
            tally.violated(f"a client ended: {error!r}")
    await whole(service, REPLICAS)
    await check(service, tenants, tally, before)
    return {
        "seed": seed,
        "seconds": seconds,
        "faults": Counter(faults),
        "done": tally.done,
        "refused": tally.refused,
        "longest_s": round(tally.longest_s, 1),
        "files_and_mb": {"before": before, "after": sizes(service)},
        "violations": tally.violations,
    }


def _tenant(service: Launched, name: str) -> Tenant:
    key = service.chatllm("keys", "create", name, "--concurrent", str(CONCURRENT)).strip()
    return Tenant(name, key)


if __name__ == "__main__":
    main()
