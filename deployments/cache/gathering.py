"""Look-ups that wait together travel together.

A call to another replica costs about the same whether it carries one key
or a hundred. So few calls are out at once, whatever arrives meanwhile goes with
the next one, and those who wait for the same key share its answer.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from deployments.cache.claims import Claim
from deployments.cache.entry import CacheEntry, decode
from deployments.cache.remote import RemoteCache
from deployments.infra.breaker import BREAKER_OPEN, Breaker, BreakerOpen
from deployments.infra.detached import detached

log = logging.getLogger(__name__)

MAX_CALLS = 2
MAX_KEYS_PER_CALL = 128
MAX_WAITING_KEYS = 10_000


@dataclass(frozen=True, slots=True)
class CacheResult:
    """An entry, or the reason for a miss in one word and who generates the answer now, if that is known.

    `version` is that of all purges at the look-up, None where it failed.
    """

    entry: CacheEntry | None
    reason: str = ""
    owner: bytes = b""
    version: str | None = None


_Query = tuple[str, Claim | None]


class Gatherer:
    """Asks the remote cache for many callers, each of whom waits `timeout_s` at most."""

    def __init__(self, remote: RemoteCache, timeout_s: float, saw: Callable[[str, float], None]) -> None:
        """`saw` is told the version of each answer, and when it was asked for (monotonic seconds)."""
        self._remote = remote
        self._saw = saw
        self._timeout_s = timeout_s
        self._breaker = Breaker()
        self._answers: dict[_Query, asyncio.Future[CacheResult]] = {}  # what waits or travels
        self._next: list[_Query] = []  # for the next call
        self._calls: set[asyncio.Task[None]] = set()

    async def ask(self, key: str, claim: Claim | None = None) -> CacheResult:
        """Return what the remote cache holds, or why it is a miss; a caller that is cancelled hurts no other."""
        query = (key, claim)
        answer = self._answers.get(query)
        if answer is None:
            if self._breaker.is_open:
                return CacheResult(None, BREAKER_OPEN)
            if len(self._answers) >= MAX_WAITING_KEYS:
                return CacheResult(None, "overflow")
            answer = self._answers[query] = asyncio.get_running_loop().create_future()
            self._next.append(query)
            self._send()
        await asyncio.wait((answer,), timeout=self._timeout_s)
        return answer.result() if answer.done() else CacheResult(None, "timeout")

    async def aclose(self) -> None:
        """Give up all calls; pending look-ups become misses."""
        self._next.clear()
        for call in tuple(self._calls):
            call.cancel()
        await asyncio.gather(*self._calls, return_exceptions=True)
        self._settle(tuple(self._answers), [CacheResult(None, "closed")] * len(self._answers))

    def _send(self) -> None:
        while self._next and len(self._calls) < MAX_CALLS:
            queries, self._next = self._next[:MAX_KEYS_PER_CALL], self._next[MAX_KEYS_PER_CALL:]
            call = detached(self._call(queries), "cache-look-up")
            self._calls.add(call)
            call.add_done_callback(self._ended)

    def _ended(self, call: asyncio.Task[None]) -> None:
        self._calls.discard(call)
        self._send()

    async def _call(self, queries: list[_Query]) -> None:
        outcomes = [CacheResult(None, "closed")] * len(queries)
        try:
            outcomes = await self._outcomes(queries)
        finally:
            self._settle(queries, outcomes)

    def _settle(self, queries: Sequence[_Query], outcomes: Sequence[CacheResult]) -> None:
        for query, outcome in zip(queries, outcomes, strict=True):
            answer = self._answers.pop(query, None)
            if answer is not None and not answer.done():
                answer.set_result(outcome)

    async def _outcomes(self, queries: list[_Query]) -> list[CacheResult]:
        """Make one call; whatever fails is a miss for every key."""
        keys, claims = [key for key, _ in queries], [claim for _, claim in queries]
        asked_at = time.monotonic()
        try:
            with self._breaker.attempt():
                async with asyncio.timeout(self._timeout_s):
                    found = await (self._remote.lookup(keys, claims) if any(claims) else self._remote.lookup(keys))
            if not found.failure:
                owners = found.owners or [b""] * len(keys)
                triples = zip(keys, found.values, owners, strict=True)
                outcomes = [_outcome(value, owner, found.version) for _, value, owner in triples]
                self._saw(found.version, asked_at)
                return outcomes
            reason = f"redis_{found.failure}"
        except BreakerOpen:
            reason = BREAKER_OPEN
        except TimeoutError:
            reason = "timeout"
        except Exception as error:  # noqa: BLE001 - the boundary to the other replica: a look-up never fails a request
            log.warning("cache deployment did not answer", extra={"error": type(error).__name__})
            reason = "deployment"
        return [CacheResult(None, reason)] * len(keys)


def _outcome(value: bytes | None, owner: bytes, version: str) -> CacheResult:
    if value is None:
        return CacheResult(None, "absent", owner, version)
    entry = decode(value)
    return CacheResult(entry, version=version) if entry else CacheResult(None, "garbage", version=version)
