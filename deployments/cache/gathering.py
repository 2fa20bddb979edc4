"""Look-ups that wait together travel together.

A call to another replica costs milliseconds of CPU whether it carries one key
or a hundred. So few calls are out at once, whatever arrives meanwhile goes with
the next one, and those who wait for the same key share its answer.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from deployments.cache.breaker import BREAKER_OPEN, Breaker, BreakerOpen
from deployments.cache.entry import CacheEntry, decode
from deployments.cache.remote import RemoteCache

log = logging.getLogger(__name__)

MAX_CALLS = 2
MAX_KEYS_PER_CALL = 128
MAX_WAITING_KEYS = 10_000


@dataclass(frozen=True, slots=True)
class Outcome:
    """An entry, or the reason for a miss in one word."""

    entry: CacheEntry | None
    reason: str = ""


class Gatherer:
    """Asks the remote cache for many callers, each of whom waits `timeout_s` at most."""

    def __init__(self, remote: RemoteCache, timeout_s: float) -> None:
        self._remote = remote
        self._timeout_s = timeout_s
        self._breaker = Breaker()
        self._answers: dict[str, asyncio.Future[Outcome]] = {}  # keys that wait or travel
        self._next: list[str] = []  # keys for the next call
        self._calls: set[asyncio.Task[None]] = set()

    async def ask(self, key: str) -> Outcome:
        """Return what the remote cache holds, or why it is a miss; a caller that is cancelled hurts no other."""
        answer = self._answers.get(key)
        if answer is None:
            if self._breaker.is_open:
                return Outcome(None, BREAKER_OPEN)
            if len(self._answers) >= MAX_WAITING_KEYS:
                return Outcome(None, "overflow")
            answer = self._answers[key] = asyncio.get_running_loop().create_future()
            self._next.append(key)
            self._send()
        await asyncio.wait((answer,), timeout=self._timeout_s)
        return answer.result() if answer.done() else Outcome(None, "timeout")

    async def aclose(self) -> None:
        """Give up all calls; who still waits has a miss."""
        self._next.clear()
        for call in tuple(self._calls):
            call.cancel()
        await asyncio.gather(*self._calls, return_exceptions=True)
        self._settle(tuple(self._answers), [Outcome(None, "closed")] * len(self._answers))

    def _send(self) -> None:
        while self._next and len(self._calls) < MAX_CALLS:
            keys, self._next = self._next[:MAX_KEYS_PER_CALL], self._next[MAX_KEYS_PER_CALL:]
            call = asyncio.create_task(self._call(keys))
            self._calls.add(call)
            call.add_done_callback(self._ended)

    def _ended(self, call: asyncio.Task[None]) -> None:
        self._calls.discard(call)
        self._send()

    async def _call(self, keys: list[str]) -> None:
        outcomes = [Outcome(None, "closed")] * len(keys)
        try:
            outcomes = await self._outcomes(keys)
        finally:
            self._settle(keys, outcomes)

    def _settle(self, keys: Sequence[str], outcomes: Sequence[Outcome]) -> None:
        for key, outcome in zip(keys, outcomes, strict=True):
            answer = self._answers.pop(key, None)
            if answer is not None and not answer.done():
                answer.set_result(outcome)

    async def _outcomes(self, keys: list[str]) -> list[Outcome]:
        """Make one call; whatever fails is a miss for every key."""
        try:
            with self._breaker.attempt():
                async with asyncio.timeout(self._timeout_s):
                    found = await self._remote.lookup(keys)
            if not found.failure:
                return [_outcome(value) for _, value in zip(keys, found.values, strict=True)]
            reason = f"redis_{found.failure}"
        except BreakerOpen:
            reason = BREAKER_OPEN
        except TimeoutError:
            reason = "timeout"
        except Exception as error:  # noqa: BLE001 - the border to the other replica: a look-up never fails a request
            log.warning("cache deployment did not answer", extra={"error": type(error).__name__})
            reason = "deployment"
        return [Outcome(None, reason)] * len(keys)


def _outcome(value: bytes | None) -> Outcome:
    if value is None:
        return Outcome(None, "absent")
    entry = decode(value)
    return Outcome(entry) if entry else Outcome(None, "garbage")
