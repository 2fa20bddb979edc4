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
class Outcome:
    """An entry, or the reason for a miss in one word and who generates the answer now, if that is known.

    `version` is that of all purges at the look-up, None where it failed.
    """

    entry: CacheEntry | None
    reason: str = ""
    holder: bytes = b""
    version: str | None = None


_Question = tuple[str, Claim | None]


class Gatherer:
    """Asks the remote cache for many callers, each of whom waits `timeout_s` at most."""

    def __init__(self, remote: RemoteCache, timeout_s: float, saw: Callable[[str, float], None]) -> None:
        """`saw` is told the version of each answer, and when it was asked for (monotonic seconds)."""
        self._remote = remote
        self._saw = saw
        self._timeout_s = timeout_s
        self._breaker = Breaker()
        self._answers: dict[_Question, asyncio.Future[Outcome]] = {}  # what waits or travels
        self._next: list[_Question] = []  # for the next call
        self._calls: set[asyncio.Task[None]] = set()

    async def ask(self, key: str, claim: Claim | None = None) -> Outcome:
        """Return what the remote cache holds, or why it is a miss; a caller that is cancelled hurts no other."""
        question = (key, claim)
        answer = self._answers.get(question)
        if answer is None:
            if self._breaker.is_open:
                return Outcome(None, BREAKER_OPEN)
            if len(self._answers) >= MAX_WAITING_KEYS:
                return Outcome(None, "overflow")
            answer = self._answers[question] = asyncio.get_running_loop().create_future()
            self._next.append(question)
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
            questions, self._next = self._next[:MAX_KEYS_PER_CALL], self._next[MAX_KEYS_PER_CALL:]
            call = detached(self._call(questions), "cache-look-up")
            self._calls.add(call)
            call.add_done_callback(self._ended)

    def _ended(self, call: asyncio.Task[None]) -> None:
        self._calls.discard(call)
        self._send()

    async def _call(self, questions: list[_Question]) -> None:
        outcomes = [Outcome(None, "closed")] * len(questions)
        try:
            outcomes = await self._outcomes(questions)
        finally:
            self._settle(questions, outcomes)

    def _settle(self, questions: Sequence[_Question], outcomes: Sequence[Outcome]) -> None:
        for question, outcome in zip(questions, outcomes, strict=True):
            answer = self._answers.pop(question, None)
            if answer is not None and not answer.done():
                answer.set_result(outcome)

    async def _outcomes(self, questions: list[_Question]) -> list[Outcome]:
        """Make one call; whatever fails is a miss for every key."""
        keys, claims = [key for key, _ in questions], [claim for _, claim in questions]
        asked_at = time.monotonic()
        try:
            with self._breaker.attempt():
                async with asyncio.timeout(self._timeout_s):
                    found = await (self._remote.lookup(keys, claims) if any(claims) else self._remote.lookup(keys))
            if not found.failure:
                holders = found.holders or [b""] * len(keys)
                triples = zip(keys, found.values, holders, strict=True)
                outcomes = [_outcome(value, holder, found.version) for _, value, holder in triples]
                self._saw(found.version, asked_at)
                return outcomes
            reason = f"redis_{found.failure}"
        except BreakerOpen:
            reason = BREAKER_OPEN
        except TimeoutError:
            reason = "timeout"
        except Exception as error:  # noqa: BLE001 - the border to the other replica: a look-up never fails a request
            log.warning("cache deployment did not answer", extra={"error": type(error).__name__})
            reason = "deployment"
        return [Outcome(None, reason)] * len(keys)


def _outcome(value: bytes | None, holder: bytes, version: str) -> Outcome:
    if value is None:
        return Outcome(None, "absent", holder, version)
    entry = decode(value)
    return Outcome(entry, version=version) if entry else Outcome(None, "garbage", version=version)
