"""Learning from the starts of models, together with all ingress replicas: see estimate.py for what is made of it."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import orjson

from deployments.errors import ChatLLMError
from deployments.infra.detached import detached
from deployments.infra.postgres.database import Database
from deployments.infra.postgres.encoding import encode
from deployments.infra.postgres.queries import load
from deployments.infra.ray.handles import CALL_ERRORS
from deployments.models.loading.estimate import MAX_STARTS, Start, typical
from deployments.models.loading.progress import Loading

log = logging.getLogger(__name__)

SQL = load(Path(__file__).parent / "starts.sql")
Place = tuple[str, str]
"""The names of a model's application and its deployment in Serve; a start is known by the latter."""
POLL_S = 0.5
READ_S = 30.0
"""How often it is read what other ingress replicas have seen."""
MAX_JOINING_S = 30.0
"""Who hears of a replica later than that was not there when it became ready."""


class StartStore(Protocol):
    """The newest starts of each deployment. Raises HistoryUnavailable where it cannot be reached in time."""

    async def newest(self) -> Sequence[Start]:
        """Return the newest `MAX_STARTS` starts of each deployment."""
        ...

    async def add(self, start: Start) -> None:
        """Keep a start, or the phases that are not known of it yet."""
        ...


class MemoryStarts:
    """The store as a list, for tests and trials."""

    def __init__(self) -> None:
        self._starts: dict[tuple[str, float], Start] = {}

    async def newest(self) -> Sequence[Start]:
        newest = sorted(self._starts.values(), key=lambda start: -start.began_at)
        names = {start.deployment for start in newest}
        return [start for name in names for start in [s for s in newest if s.deployment == name][:MAX_STARTS]]

    async def add(self, start: Start) -> None:
        known = self._starts.get((start.deployment, start.began_at))
        phases = {**start.phases, **(known.phases if known else {})}
        self._starts[start.deployment, start.began_at] = Start(start.deployment, start.began_at, phases)


class PostgresStarts:
    """The store on the process's shared `Database`, which its owner opens and closes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def newest(self) -> Sequence[Start]:
        rows = await self._database.fetch(SQL["newest"], MAX_STARTS)
        return [Start(row["deployment"], row["began_at"], orjson.loads(row["phases"])) for row in rows]

    async def add(self, start: Start) -> None:
        await self._database.fetch(SQL["add"], start.deployment, start.began_at, encode(start.phases))
        await self._database.fetch(SQL["trim"], start.deployment, MAX_STARTS)


class StartTimes:
    """What an ingress replica knows of how long models take to start; without a store, what it sees itself."""

    def __init__(
        self,
        store: StartStore,
        replicas: Callable[[Place], int],
        published: Callable[[str], Loading | None],
        demanded_at: Callable[[Place], float | None],
    ) -> None:
        """`replicas` counts those of a deployment that run, `published` reads what one reported last (it may block).

        `demanded_at` is when this replica began to demand one (Unix seconds), None if it did not.
        """
        self._store = store
        self._replicas = replicas
        self._published = published
        self._demanded_at = demanded_at
        self._known: Sequence[Start] = ()
        self._typical: Mapping[str, Mapping[str, float]] = {}
        self._absent: dict[Place, float | None] = {}
        self._task: asyncio.Task[None] | None = None

    @property
    def known(self) -> Sequence[Start]:
        """The newest starts of all deployments, as they were read last."""
        return self._known

    def phases(self, deployment: str) -> Mapping[str, float]:
        """Return the seconds that each phase typically takes; none where no start is known."""
        return self._typical.get(deployment, {})

    async def open(self, places: Callable[[], Sequence[Place]]) -> None:
        """Read what is known, and watch these deployments from now on."""
        await self._read()
        self._task = detached(self._watch(places), "start-times")

    async def aclose(self) -> None:
        """Watch no longer."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))

    async def _watch(self, places: Callable[[], Sequence[Place]]) -> None:
        read_at = time.monotonic()
        while True:
            for place in places():
                await self._look(place)
            if time.monotonic() - read_at > READ_S:
                await self._read()
                read_at = time.monotonic()
            await asyncio.sleep(POLL_S)

    async def _look(self, place: Place) -> None:
        """Note since when a deployment is demanded that has no replica, and what its start took once it has one."""
        if not self._replicas(place):
            self._absent[place] = self._demanded_at(place) or self._absent.get(place)
        elif place in self._absent:
            seen_at, demanded_at = time.time(), self._absent.pop(place)
            try:
                loading = await asyncio.to_thread(self._published, place[1])
            except CALL_ERRORS as error:
                log.warning("a model's start is not known: %s", type(error).__name__)
                return
            if loading is not None and loading.took_s is not None:
                await self._keep(started(place[1], loading, demanded_at, seen_at))

    async def _keep(self, start: Start) -> None:
        try:
            await self._store.add(start)
        except ChatLLMError as error:
            log.warning("a model's start was not kept: %s", error.code)
        await self._read()

    async def _read(self) -> None:
        try:
            starts = await self._store.newest()
        except ChatLLMError as error:
            log.warning("the starts of models cannot be read: %s", error.code)
            return
        self._known = starts
        names = {start.deployment for start in starts}
        self._typical = {name: typical([start for start in starts if start.deployment == name]) for name in names}


def started(deployment: str, loading: Loading, demanded_at: float | None, seen_at: float) -> Start:
    """Return a start, from what its replica reported and when it was demanded and seen. No duration is negative."""
    phases = dict(loading.phases)
    if demanded_at is not None and demanded_at <= loading.since:
        phases["scheduling"] = loading.since - demanded_at
    joining_s = seen_at - loading.since - (loading.took_s or 0.0)
    if joining_s <= MAX_JOINING_S:
        phases["joining"] = max(0.0, joining_s)
    return Start(deployment, loading.since, phases)
