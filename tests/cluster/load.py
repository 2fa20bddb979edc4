"""Users of all nodes who never pause for long, and what they went through while something broke.

They come by way of a load balancer: it asks each node for its health once a second, and sends nobody to a node that did
not answer, or that says that it is being drained.
"""

import asyncio
import itertools
import json
import time
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.cluster.app import NODE_HEADER
from tests.cluster.namespaces import Machine
from tests.cluster.ray_cluster import RayCluster, url

CHAT = "/v1/chat/completions"
PAUSE_S = 0.1
CHECK_S = 1.0
OPTIONS: dict[str, Any] = {"timeout": httpx.Timeout(30, connect=3), "trust_env": False}


@dataclass
class Attempt:
    """One request, by the node that was asked and, as far as known, the one whose ingress answered."""

    entry: str
    model: str
    began: float
    ended: float = 0.0
    ingress: str = ""
    status: int = 0
    failure: str = ""
    hops: str = ""
    """`Server-Timing`, of a plain answer."""

    @property
    def took_s(self) -> float:
        return self.ended - self.began


@dataclass
class Load:
    """What has happened so far."""

    attempts: list[Attempt] = field(default_factory=list[Attempt])

    def failed(self, without: Iterable[str] = ()) -> list[Attempt]:
        """Return what was not answered whole, leaving out what was asked of nodes by these names."""
        return [one for one in self.attempts if one.failure and one.entry not in without]

    def longest_gap_s(self, without: Iterable[str] = ()) -> float:
        """Return the longest time in which no request was answered at all, of those asked of the other nodes."""
        good = sorted(one.ended for one in self.attempts if not one.failure and one.entry not in without)
        return max((after - before for before, after in itertools.pairwise(good)), default=float("inf"))

    def slowest_s(self, without: Iterable[str] = ()) -> float:
        """Return the longest time that a request of the other nodes took, whether it failed or not."""
        return max((one.took_s for one in self.attempts if one.entry not in without), default=0.0)


@asynccontextmanager
async def load(cluster: RayCluster, entries: list[Machine], *models: str) -> AsyncGenerator[Load]:
    """Ask these nodes for these models while the block runs: streams and plain answers in turn."""
    numbers, told, ended = itertools.count(), Load(), asyncio.Event()
    is_in = {entry.name: asyncio.Event() for entry in entries}

    async def user(entry: Machine, model: str) -> None:
        async with httpx.AsyncClient(headers=cluster.headers, base_url=url(entry), **OPTIONS) as http:
            while not ended.is_set():
                if not is_in[entry.name].is_set():
                    await asyncio.sleep(PAUSE_S)
                    continue
                attempt = Attempt(entry.name, model, time.monotonic())
                await _ask(http, attempt, next(numbers))
                attempt.ended = time.monotonic()
                told.attempts.append(attempt)
                await asyncio.sleep(PAUSE_S)

    async with asyncio.TaskGroup() as tasks:
        balancers = [tasks.create_task(_balance(entry, is_in[entry.name])) for entry in entries]
        users = [tasks.create_task(user(entry, model)) for entry in entries for model in models]
        try:
            await asyncio.sleep(1)
            yield told
            await asyncio.sleep(1)
        finally:
            ended.set()
            await asyncio.gather(*users)
            for balancer in balancers:
                balancer.cancel()


async def _balance(entry: Machine, is_in: asyncio.Event) -> None:
    """Keep the event set while a node says that it is well."""
    async with httpx.AsyncClient(timeout=CHECK_S, trust_env=False) as http:
        while True:
            try:
                is_well = (await http.get(url(entry) + "/-/healthz")).status_code == 200
            except httpx.HTTPError:
                is_well = False
            if is_well:
                is_in.set()
            else:
                is_in.clear()
            await asyncio.sleep(CHECK_S)


async def _ask(http: httpx.AsyncClient, attempt: Attempt, number: int) -> None:
    """Ask something that no answer is kept for, and note what went wrong."""
    body = {"model": attempt.model, "messages": [{"role": "user", "content": f"number {number}"}]}
    is_stream = number % 2 == 0
    text = ""
    try:
        async with http.stream("POST", CHAT, json={**body, "stream": is_stream}) as response:
            attempt.ingress, attempt.status = response.headers.get(NODE_HEADER, ""), response.status_code
            attempt.hops = response.headers.get("server-timing", "")
            text = (await response.aread()).decode()
        is_whole = text.rstrip().endswith("data: [DONE]") if is_stream else bool(json.loads(text)["choices"])
        if response.status_code != 200 or not is_whole or '"error"' in text:
            attempt.failure = text[-400:]
    except (httpx.HTTPError, ValueError, LookupError) as error:
        attempt.failure = repr(error) + text[-200:]
