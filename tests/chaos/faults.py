"""What goes wrong, in an order that a seed decides."""

import asyncio
import os
import random
import signal
from collections.abc import Callable
from contextlib import suppress

from tests.launched import Launched
from tests.serve.test_faults import replicas, store

PAUSES_S = (3.0, 9.0)
FREEZES_S = (0.5, 8.0)
MODEL, INGRESS, CACHE = "model-steady", "Ingress", "CacheLookup"

Victims = Callable[[Launched], list[int]]
FAULTS: dict[str, tuple[Victims, signal.Signals]] = {
    "a model replica is killed": (lambda service: replicas(service, MODEL), signal.SIGKILL),
    "a model replica is frozen": (lambda service: replicas(service, MODEL), signal.SIGSTOP),
    "an ingress replica is killed": (lambda service: replicas(service, INGRESS), signal.SIGKILL),
    "an ingress replica is frozen": (lambda service: replicas(service, INGRESS), signal.SIGSTOP),
    "the cache's replica is killed": (lambda service: replicas(service, CACHE), signal.SIGKILL),
    "Redis is frozen": (lambda service: store(service, "valkey"), signal.SIGSTOP),
    "Redis is killed": (lambda service: store(service, "valkey"), signal.SIGKILL),
    "Postgres is frozen": (lambda service: store(service, "postgres/data"), signal.SIGSTOP),
    "Postgres is killed": (lambda service: store(service, "postgres/data"), signal.SIGKILL),
}
ALL_AT_ONCE = ("Redis", "Postgres")
"""Whose processes are one server."""


async def break_things(service: Launched, seed: int, seconds: float) -> list[str]:
    """Cause one fault after the other for so long; return what was done. What is frozen goes on afterwards."""
    chance, done = random.Random(seed), list[str]()
    loop = asyncio.get_running_loop()
    ends_at = loop.time() + seconds
    while (left_s := ends_at - loop.time()) > 0:
        await asyncio.sleep(min(left_s, chance.uniform(*PAUSES_S)))
        name = chance.choice(sorted(FAULTS))
        victims, number = FAULTS[name]
        found, freeze_s = sorted(victims(service)), chance.uniform(*FREEZES_S)
        if not found:
            continue  # it is still on its way back
        hit = found if name.startswith(ALL_AT_ONCE) else [chance.choice(found)]
        done.append(name)
        _send(hit, number)
        if number == signal.SIGSTOP:
            try:
                await asyncio.sleep(freeze_s)
            finally:
                _send(hit, signal.SIGCONT)
    return done


def _send(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)
