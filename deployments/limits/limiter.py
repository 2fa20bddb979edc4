"""Decides whether a key's limits let a request in: together with all replicas, or by this one's memory.

    admit ── a busy key ──▶ a block that this replica took before (blocks.py), asking nobody
          ── one script, 50 ms at most ──▶ Redis ── late, gone, refusing ──▶ this replica's memory
    settle, renew ── behind the answer ──▶ both

The memory follows what Redis decides for this replica, so that an outage does
not begin with full buckets.
"""

import asyncio
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from functools import partial
from typing import Any
from weakref import WeakValueDictionary

from deployments.config import KeyLimitPolicy, KeyLimitSettings
from deployments.errors import ChatLLMError
from deployments.infra.redis.errors import StoreError
from deployments.keys.types import KeyLimits
from deployments.limits.attempts import Attempts
from deployments.limits.blocks import BLOCK_S, Block, Blocks
from deployments.limits.memory import MemoryLimits
from deployments.limits.store import UNKNOWN, Demand, LimitStore, Rest, Verdict

MONTH_TIMEOUT_S = 1.0
CLOSE_TIMEOUT_S = 2.0

MonthUsed = Callable[[str, date], Awaitable[int]]
"""Tells the tokens that a key has used since a day; raises a ChatLLMError when that cannot be told."""


@dataclass(frozen=True, slots=True)
class _Admitted:
    """What has to be settled: `counted_remotely` is None where Redis did not admit it."""

    demand: Demand
    counted_here: int
    counted_remotely: int | None


class Admission:
    """A decision. Unless it is a refusal `end` must be called when the request has ended, however it ended."""

    def __init__(self, limiter: "Limiter", limits: KeyLimits, verdict: Verdict, admitted: _Admitted | None) -> None:
        self.limits = limits
        self.verdict = verdict
        self._limiter = limiter
        self._admitted = admitted

    @property
    def key_id(self) -> str:
        """Whose limits decided; "" once it has ended."""
        return self._admitted.demand.key_id if self._admitted else ""

    @property
    def places(self) -> list[str]:
        """The places that it holds among what runs at once."""
        return self._admitted.demand.places if self._admitted else []

    @property
    def is_refused(self) -> bool:
        return self._admitted is None

    def record(self) -> dict[str, Any]:
        """Return what `Limiter.resume` needs to go on with it, as JSON; empty if there is nothing to go on with."""
        admitted = self._admitted
        if admitted is None:
            return {}
        return {**asdict(admitted.demand), "counted_remotely": admitted.counted_remotely}

    def leave(self) -> None:
        """Let another replica go on with it, which has its record: nothing is counted here any more."""
        admitted, self._admitted = self._admitted, None
        if admitted is not None:
            self._limiter.forget(admitted)

    def end(self, tokens: int) -> None:
        """Count the tokens that were really used and make room for the next. Returns at once; only the first counts."""
        admitted, self._admitted = self._admitted, None
        if admitted is not None:
            self._limiter.settle(admitted, tokens)


class Limiter:
    """Holds the limits of keys, for one event loop.

    All replicas together never admit more than the limits allow. A replica keeps a little of a busy key's limits
    for a second, which others then lack: at most 1/60 of a limit per minute, and nothing near it (blocks.py).
    """

    def __init__(self, remote: LimitStore, month_used: MonthUsed, settings: KeyLimitSettings) -> None:
        self._remote = remote
        self._local = MemoryLimits(settings.lease_s)
        self._others = MemoryLimits(settings.lease_s)
        self.configure(settings)
        self._month_used = month_used
        self._attempts = Attempts()
        self._blocks = Blocks(self._new_lease, self._take_block, self._give_back, min(BLOCK_S, settings.lease_s / 2))
        self._renewal_s = settings.lease_s / 3
        self._replica = secrets.token_hex(8)
        self._admissions = 0
        # An admission that nobody holds any more cannot end: its lease is not renewed and lapses.
        self._leases: WeakValueDictionary[str, Admission] = WeakValueDictionary()
        self._tasks: set[asyncio.Task[None]] = set()
        self._renewer: asyncio.Task[None] | None = None
        self._block_sweeper: asyncio.Task[None] | None = None
        self._renewing = asyncio.Lock()
        self._no_renewal_runs = asyncio.Event()
        self._no_renewal_runs.set()

    @property
    def failures(self) -> Counter[str]:
        """Why Redis was not asked or did not answer, and how often."""
        return self._attempts.failures

    def configure(self, policy: KeyLimitPolicy) -> None:
        """Go by this from now on."""
        self.of_others = KeyLimits(requests_per_minute=policy.other_requests_per_minute)
        """What a key may do that generates nothing, held by this replica alone: it protects the replica."""

    async def open(self) -> None:
        """Start to renew the leases of running requests, in the running event loop."""
        self._renewer = asyncio.create_task(self._renew_for_ever(), name="lease-renewal")
        self._block_sweeper = asyncio.create_task(self._sweep_blocks(), name="limit-blocks")

    async def aclose(self) -> None:
        """Settle what has ended, within 2 s, and close the connections to Redis."""
        for task in (self._renewer, self._block_sweeper):
            if task is not None:
                task.cancel()
                await asyncio.wait((task,))
        self._blocks.end_all()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=CLOSE_TIMEOUT_S)
        for task in self._tasks:
            task.cancel()
        with suppress(StoreError):
            await self._remote.aclose()

    async def admit(
        self, key_id: str, limits: KeyLimits, tokens: int = 0, *, requests: int = 1, sequences: int = 1
    ) -> Admission:
        """Decide on one request that is estimated at `tokens`, in one round trip at most.

        `requests` is 0 for one that was counted before. `sequences` count among what runs at once
        until the admission ends. Cancellation while Redis decides may leave a lease behind, which lapses.
        """
        lease = self._new_lease() if sequences and limits.concurrent_requests else ""
        demand = Demand(key_id, limits, requests, tokens, lease, f"{datetime.now(UTC):%Y-%m}", sequences)
        if (served := self._blocks.serve(demand)) is not None:
            block, demand = served
            admitted = _Admitted(demand, self._local.note(demand), block.counted_in)
            return self._admission(limits, block.standing(), admitted)
        remotely = await self._ask_remote(demand)
        if remotely is not None:
            self._blocks.note(demand, remotely)
        verdict = await self._decided(self._local, demand) if remotely is None else remotely
        if verdict.refused_by is not None:
            return Admission(self, limits, verdict, None)
        if remotely is None:
            return self._admission(limits, verdict, _Admitted(demand, verdict.counted_in, None))
        return self._admission(limits, verdict, _Admitted(demand, self._local.note(demand), verdict.counted_in))

    def _new_lease(self) -> str:
        self._admissions += 1
        return f"{self._replica}:{self._admissions}"

    def _admission(self, limits: KeyLimits, verdict: Verdict, admitted: _Admitted) -> Admission:
        admission = Admission(self, limits, verdict, admitted)
        if admitted.demand.lease:
            self._leases[admitted.demand.lease] = admission
        return admission

    async def count_other(self, key_id: str) -> Verdict:
        """Decide on a request that generates nothing, by `of_others`. Asks nobody."""
        return await self._others.admit(Demand(key_id, self.of_others, 1, 0, "", ""))

    def resume(self, record: Mapping[str, Any]) -> Admission:
        """Go on with what a replica that is lost or closed had admitted, from its `record`. Returns at once.

        It keeps its place among what runs at once, even where that had lapsed meanwhile, and is settled here.
        """
        fields: dict[str, Any] = {**record, "limits": KeyLimits(**record["limits"])}
        counted_remotely = fields.pop("counted_remotely")
        demand = Demand(**fields)
        admitted = _Admitted(demand, self._local.note(demand), counted_remotely)
        admission = self._admission(demand.limits, Verdict(), admitted)
        if demand.lease:
            self._later(self._renew())
        return admission

    def forget(self, admitted: _Admitted) -> None:
        """Stop to renew an admission's lease, which another replica does from now on."""
        self._leases.pop(admitted.demand.lease, None)
        self._local.end(admitted.demand, admitted.demand.reserved, admitted.counted_here, 0)

    def settle(self, admitted: _Admitted, tokens: int) -> None:
        """End an admission: here at once, in Redis behind the answer."""
        demand = admitted.demand
        self._leases.pop(demand.lease, None)
        self._local.end(demand, demand.reserved, admitted.counted_here, tokens)
        if self._blocks.put_back(demand, admitted.counted_remotely, tokens):
            return
        if demand.lease or ((demand.tokens or tokens) and demand.limits.counts_tokens):
            self._later(self._settle_remote(admitted, tokens))

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _ask_remote(self, demand: Demand) -> Verdict | None:
        """Return what Redis decides; None if it does not."""
        return await self._attempts.attempt(partial(self._decided, self._remote, demand))

    async def _decided(self, store: LimitStore, demand: Demand) -> Verdict:
        verdict = await store.admit(demand)
        if verdict.asks_for_month:
            verdict = await store.admit(demand, await self._used_this_month(demand.key_id))
        return verdict

    async def _used_this_month(self, key_id: str) -> int:
        try:
            async with asyncio.timeout(MONTH_TIMEOUT_S):
                return await self._month_used(key_id, datetime.now(UTC).date().replace(day=1))
        except (ChatLLMError, TimeoutError):
            return UNKNOWN

    async def _settle_remote(self, admitted: _Admitted, tokens: int) -> None:
        # A renewal that is under way could bring back the lease that this ends.
        await self._no_renewal_runs.wait()
        demand, counted_in = admitted.demand, admitted.counted_remotely
        reserved = 0 if counted_in is None else demand.reserved
        await self._attempts.attempt(partial(self._remote.settle, demand, reserved, counted_in or 0, tokens))

    def _take_block(self, demand: Demand) -> None:
        self._later(self._take_remote(demand))

    async def _take_remote(self, demand: Demand) -> None:
        verdict = None
        try:
            verdict = await self._ask_remote(demand)
        finally:
            self._blocks.taken(demand, verdict)

    def _give_back(self, block: Block) -> None:
        self._later(self._give_back_remote(block, block.close()))

    async def _give_back_remote(self, block: Block, rest: Rest) -> None:
        await self._no_renewal_runs.wait()
        await self._attempts.attempt(partial(self._remote.give_back, block.demand, block.counted_in, rest))

    async def _sweep_blocks(self) -> None:
        while True:
            await asyncio.sleep(BLOCK_S / 2)
            self._blocks.end_expired()

    async def _renew_for_ever(self) -> None:
        while True:
            await asyncio.sleep(self._renewal_s)
            if self._leases:
                await self._renew()

    async def _renew(self) -> None:
        async with self._renewing:
            await self._renew_all()

    async def _renew_all(self) -> None:
        leases: dict[str, list[str]] = {}
        for admission in self._leases.values():
            leases.setdefault(admission.key_id, []).extend(admission.places)
        await self._local.renew(leases)
        self._no_renewal_runs.clear()
        try:
            await self._attempts.attempt(partial(self._remote.renew, leases))
        finally:
            self._no_renewal_runs.set()
