"""The lines of batches that this replica answers now: claimed, answered, settled.

    claim ── a few lines, of all tenants in turn ──▶ answer, like any request ──▶ outcome ──▶ settle, several at once
          ◀── refused for now: given back, its batch rests on this replica for a while

A lease says that a line is this replica's. It is renewed while the answer takes, and when that fails, because the
batch was cancelled or another replica has taken the line, the answer is stopped.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import Protocol

from deployments.batches.outcomes import answered, lost
from deployments.batches.pacing import Pace
from deployments.batches.store import BatchStore
from deployments.batches.types import Claim, ClaimedLine, LineAnswer, Outcome
from deployments.errors import ChatLLMError, HistoryUnavailable
from deployments.infra.detached import detached
from deployments.infra.traces import trace

log = logging.getLogger(__name__)

MAX_ATTEMPTS = 3
GATHER_S = 0.03
"""Lines that end within this time are settled together, and as many claimed together."""
SETTLED_BYTES = 4_194_304
"""Bytes of outcomes that one statement writes, which may take so long: embeddings of many texts have tens of MB."""
IDLE_S = 1.0
MAX_REST_S = 60.0
REST_S = 2.0
AWAY_S = 1.0


class KeyGone(Exception):
    """The key of a batch is revoked: nothing is generated for it any more."""


class Door(Protocol):
    """The way to the service's own answers."""

    async def answer(self, line: ClaimedLine) -> LineAnswer:
        """Answer a line as its endpoint answers a request of its key, in the class of batches.

        Raises KeyGone. Cancelling stops the engine's work.
        """
        ...


class Counted(Protocol):
    """Who is told what becomes of lines: metrics."""

    def line_ended(self, outcome: str) -> None:
        """Count a line: `completed`, `failed` or `retried`."""
        ...

    def lines_running(self, number: int) -> None:
        """Note how many are being answered."""
        ...


class Lines:
    """Answers lines, `limit()` at once, until closed."""

    def __init__(
        self, store: BatchStore, runner: str, lease_s: float, limit: Callable[[], int], counted: Counted
    ) -> None:
        self._store = store
        self._runner = runner
        self._lease_s = lease_s
        self._limit = limit
        self._counted = counted
        self._running: dict[Claim, asyncio.Task[None]] = {}
        self._done: dict[Claim, Outcome] = {}
        self._resting: dict[str, float] = {}
        self._may_hold_others = False
        self._pace = Pace()
        self._changed = asyncio.Event()
        self._loops: list[asyncio.Task[None]] = []

    def open(self, door: Door) -> None:
        """Begin, in the running event loop."""
        self._door = door
        self._loops = [
            detached(self._forever(work), f"batch-{name}")
            for name, work in (("claims", self._claim), ("leases", self._renew), ("outcomes", self._settle))
        ]

    def retire(self) -> None:
        """Claim no more; what runs goes on."""
        if self._loops:
            self._loops[0].cancel()

    async def aclose(self, timeout_s: float) -> None:
        """Claim no more, let what runs end for `timeout_s`, and leave the rest to other replicas at once."""
        if not self._loops:
            return
        claims, leases, outcomes = self._loops
        claims.cancel()
        if self._running:
            await asyncio.wait(list(self._running.values()), timeout=timeout_s)
        for loop in (leases, outcomes):
            loop.cancel()
        await asyncio.wait(self._loops)
        left = dict(self._running)
        for task in left.values():
            task.cancel()
        if left:
            await asyncio.wait(list(left.values()))
        with suppress(ChatLLMError):
            await self._settle_all()
            await self._store.give_back_others(self._runner, list(self._done))

    def wake(self) -> None:
        """Look for lines at once."""
        self._changed.set()

    def stop(self, batch_id: str) -> None:
        """Stop the lines of a cancelled batch that run here."""
        for claim, task in list(self._running.items()):
            if claim.batch_id == batch_id:
                task.cancel()

    async def _forever(self, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await work()
            except HistoryUnavailable:
                await asyncio.sleep(AWAY_S)
            except Exception as error:  # noqa: BLE001 - the boundary of a loop that must go on
                log.error("a batch's lines: %s", trace(error))
                await asyncio.sleep(AWAY_S)

    async def _claim(self) -> None:
        self._changed.clear()
        now = time.monotonic()
        self._resting = {id_: until for id_, until in self._resting.items() if until > now}
        room = self._limit() - len(self._running) - len(self._done)
        claimed = await self._claimed(room) if room > 0 else []
        for line in claimed:
            task = detached(self._answer(line), f"batch-line-{line.number}")
            self._running[line.claim] = task
            task.add_done_callback(lambda _, claim=line.claim: self._ended(claim))
        self._counted.lines_running(len(self._running))
        with suppress(TimeoutError):
            async with asyncio.timeout(IDLE_S):
                await self._changed.wait()
        await asyncio.sleep(GATHER_S)

    async def _claimed(self, room: int) -> list[ClaimedLine]:
        """Claim lines. Where the reply to the last claim was lost, what it may have claimed is given back first."""
        if self._may_hold_others:
            await self._give_back_others()
        self._may_hold_others = True
        claimed = await self._store.claim(self._runner, room, self._lease_s, self._resting)
        self._may_hold_others = False
        return claimed

    async def _give_back_others(self) -> None:
        await self._store.give_back_others(self._runner, [*self._running, *self._done])
        self._may_hold_others = False

    def _ended(self, claim: Claim) -> None:
        self._running.pop(claim, None)
        self._changed.set()

    async def _answer(self, line: ClaimedLine) -> None:
        if line.attempts > MAX_ATTEMPTS:
            self._done[line.claim] = lost(line)
            return
        await self._pace.turn()
        try:
            answer = await self._door.answer(line)
        except KeyGone:
            with suppress(ChatLLMError):
                await self._store.cancel(line.tenant, line.batch_id)
            return
        except ChatLLMError as error:
            answer = LineAnswer(error.status, "", b"{}", error.retry_after_s, error.may_succeed_later)
        except Exception as error:  # noqa: BLE001 - the boundary of a line: it is tried again a few times
            log.error("a line of a batch failed: %s", trace(error))
            answer = LineAnswer(500, "", b"{}")
        if _is_refused(answer):
            await self._rest(line, answer)
        elif answer.status >= 500 and line.attempts < MAX_ATTEMPTS:
            await self._give_back(line, REST_S, is_counted=True)
        else:
            self._done[line.claim] = answered(line, answer)

    async def _rest(self, line: ClaimedLine, answer: LineAnswer) -> None:
        """Let a batch rest that cannot be answered now: its key has reached a limit, or there is no room."""
        rest_s = min(MAX_REST_S, max(answer.retry_after_s or REST_S, 0.1))
        self._resting[line.batch_id] = time.monotonic() + rest_s
        await self._give_back(line, 0, is_counted=False)

    async def _give_back(self, line: ClaimedLine, delay_s: float, *, is_counted: bool) -> None:
        """Leave a line to whoever claims it next; while the store is away, until its lease has lapsed."""
        self._counted.line_ended("retried")
        with suppress(HistoryUnavailable):
            await self._store.give_back(self._runner, [line.claim], delay_s, is_counted=is_counted)

    async def _renew(self) -> None:
        await asyncio.sleep(min(2.0, self._lease_s / 4))
        if self._may_hold_others and self._loops[0].done():  # this replica has retired in the middle of a claim
            await self._give_back_others()
        if not (held := [*self._running, *self._done]):
            return
        mine = await self._store.renew(self._runner, held, self._lease_s)
        for claim in held:
            if claim not in mine and (task := self._running.get(claim)):
                task.cancel()

    async def _settle(self) -> None:
        await asyncio.sleep(GATHER_S)
        await self._settle_all()

    async def _settle_all(self) -> None:
        while page := _page(self._done.values()):
            written = await self._store.settle(self._runner, page)
            for outcome in page:
                del self._done[outcome.claim]
                if outcome.claim in written:
                    self._counted.line_ended("failed" if outcome.is_error else "completed")
            self._changed.set()


def _page(outcomes: Iterable[Outcome]) -> list[Outcome]:
    """Return the first of them, about as many as `SETTLED_BYTES` hold."""
    page: list[Outcome] = []
    size = 0
    for outcome in outcomes:
        size += len(outcome.text)
        if page and size > SETTLED_BYTES:
            break
        page.append(outcome)
    return page


def _is_refused(answer: LineAnswer) -> bool:
    """Tell whether the same line may be answered later, and nobody has tried to."""
    return answer.status in (429, 503) and answer.may_succeed_later
