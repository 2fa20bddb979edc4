"""Tells who calls, from memory where it can."""

import asyncio
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Protocol

from deployments.config import KeySettings
from deployments.errors import HistoryUnavailable, Unauthenticated, Unavailable
from deployments.keys.types import PREFIX, SECRET_LENGTH, SESSION_PREFIX, UNLIMITED, Key, KeyLimits, hash_of
from deployments.queueing.job import Priority

# How long a key that was not found is refused without a query.
REFUSED_TTL_S = 1.0
# Look-ups at once, apart for known and unknown keys: a flood of wrong keys gets two
# connections of the pool and cannot keep a known key from being confirmed.
KNOWN_LOOKUPS = 4
UNKNOWN_LOOKUPS = 2
MAX_WAITING = 1_000
LOOKUP_TIMEOUT_S = 5.0
# How long a known key waits for its confirmation before Postgres counts as unreachable.
CONFIRM_TIMEOUT_S = 1.0
RETRY_S = 0.5

# What the holder of a key that was valid may know. A revoked key may be in wrong hands: it is told nothing.
REASONS = {
    "disabled": "This API key is disabled: whoever runs this service can enable it again.",
    "expired": "This API key has expired: ask whoever runs this service for a new one.",
}

SESSION_EXPIRED = "This session has expired: sign in again."


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent a request."""

    tenant: str
    key_id: str
    name: str
    is_admin: bool = False
    limits: KeyLimits = UNLIMITED
    weight: int = 1
    priority: Priority = "interactive"
    max_sequences: int | None = None
    """How many a request may ask for whose sequences do not count against `limits`; None for any number."""


@dataclass(frozen=True, slots=True)
class _Known:
    """A valid key, and when (monotonic seconds) the query that confirmed it was sent."""

    key: Key
    asked_at: float


@dataclass(frozen=True, slots=True)
class _Refused:
    """An answer that is not asked for again until then (monotonic seconds): no key, or one that opens nothing."""

    key: Key | None
    until: float


class CredentialStore(Protocol):
    """Where secrets are looked up by their hashes."""

    async def find(self, hash_: bytes) -> Key | None:
        """Return the key that a secret stands for, whatever its state; None for a secret that nobody has."""
        ...


class Authenticator:
    """Checks secrets against a store, remembering the valid ones.

    A key confirmed less than `cache_ttl_s` ago is trusted, and confirmed again
    in the background past half of that; an older one only while the store cannot
    be reached, up to `outage_ttl_s`. A revocation therefore holds within
    `cache_ttl_s` on every replica. Requests with one key share one look-up.
    """

    def __init__(self, store: CredentialStore, settings: KeySettings, defaults: KeyLimits = UNLIMITED) -> None:
        """`defaults` hold for a key that has no such limit of its own."""
        self._store = store
        self.configure(settings, defaults)
        self._known: OrderedDict[bytes, _Known] = OrderedDict()
        self._refused_until: OrderedDict[bytes, _Refused] = OrderedDict()
        self._lookups: dict[bytes, asyncio.Task[Key | None]] = {}
        self._known_slots = asyncio.Semaphore(KNOWN_LOOKUPS)
        self._unknown_slots = asyncio.Semaphore(UNKNOWN_LOOKUPS)
        self._away_until = 0.0
        self._retry_at = 0.0

    def configure(self, settings: KeySettings, defaults: KeyLimits) -> None:
        """Go by these settings from now on."""
        self._settings, self._defaults = settings, defaults

    async def authenticate(self, secret: str) -> Caller:
        """Return who holds `secret`.

        Raises Unauthenticated, or HistoryUnavailable when the secret is not
        known here and the store cannot be reached. Cancellation leaves the
        look-up running for those who share it.
        """
        if len(secret) != SECRET_LENGTH or not secret.startswith((PREFIX, SESSION_PREFIX)):
            raise Unauthenticated
        hash_ = hash_of(secret)
        known = self._known.get(hash_)
        key = await (self._unknown(hash_) if known is None else self._confirmed(hash_, known))
        if key is None:
            raise Unauthenticated
        if not key.is_valid():
            raise Unauthenticated(_reason(key, secret))
        limits, priority = key.limits.within(self._defaults), key.priority or "interactive"
        return Caller(key.tenant, key.id, key.name, key.is_admin, limits, key.weight or 1, priority)

    def forget(self, secret: str) -> None:
        """Ask the store about `secret` the next time: what it stands for has been ended here."""
        self._known.pop(hash_of(secret), None)

    async def aclose(self) -> None:
        """End the look-ups that are under way."""
        lookups = list(self._lookups.values())
        for lookup in lookups:
            lookup.cancel()
        await asyncio.gather(*lookups, return_exceptions=True)

    async def _confirmed(self, hash_: bytes, known: _Known) -> Key | None:
        """Return a known key if it still opens."""
        self._known.move_to_end(hash_)
        now = time.monotonic()
        age_s = now - known.asked_at
        if age_s < self._settings.cache_ttl_s / 2:
            return known.key
        trusted_s = self._settings.outage_ttl_s if now < self._away_until else self._settings.cache_ttl_s
        if age_s < trusted_s:
            if now >= self._retry_at:
                self._look_up(hash_)
            return known.key
        lookup = self._look_up(hash_)
        await asyncio.wait({lookup}, timeout=CONFIRM_TIMEOUT_S)
        if not lookup.done():
            self._note_outage()
        elif lookup.exception() is None:
            return lookup.result()
        if age_s < self._settings.outage_ttl_s:
            return known.key
        raise HistoryUnavailable(retry_after_s=self._settings.cache_ttl_s)

    async def _unknown(self, hash_: bytes) -> Key | None:
        """Return a key that is not in memory; None if there is none."""
        now = time.monotonic()
        refused = self._refused_until.get(hash_)
        if refused is not None and refused.until > now:
            return refused.key
        if hash_ not in self._lookups and (now < self._retry_at or len(self._lookups) >= MAX_WAITING):
            raise HistoryUnavailable("API keys cannot be checked right now.", retry_after_s=1.0)
        return await asyncio.shield(self._look_up(hash_))

    def _look_up(self, hash_: bytes) -> asyncio.Task[Key | None]:
        """Return the look-up of a key that is under way, or a new one."""
        if hash_ not in self._lookups:
            lookup = asyncio.create_task(self._find(hash_), name="key-lookup")
            self._lookups[hash_] = lookup
            lookup.add_done_callback(lambda done: self._forget(hash_, done))
        return self._lookups[hash_]

    def _forget(self, hash_: bytes, lookup: asyncio.Task[Key | None]) -> None:
        del self._lookups[hash_]
        if not lookup.cancelled():
            lookup.exception()  # seen, whether or not somebody still waits for it

    async def _find(self, hash_: bytes) -> Key | None:
        """Ask the store, and remember what it says."""
        slots = self._known_slots if hash_ in self._known else self._unknown_slots
        try:
            async with asyncio.timeout(LOOKUP_TIMEOUT_S), slots:
                asked_at = time.monotonic()
                key = await self._store.find(hash_)
        except TimeoutError:
            raise HistoryUnavailable("API keys cannot be checked right now.", retry_after_s=1.0) from None
        except Unavailable:
            self._note_outage()
            raise
        self._away_until = self._retry_at = 0.0
        if key is not None and key.is_valid():
            self._known[hash_] = _Known(key, asked_at)
            _bound(self._known, self._settings.max_cached)
        else:
            self._known.pop(hash_, None)
            self._refused_until[hash_] = _Refused(key, time.monotonic() + REFUSED_TTL_S)
            self._refused_until.move_to_end(hash_)
            _bound(self._refused_until, self._settings.max_cached)
        return key

    def _note_outage(self) -> None:
        now = time.monotonic()
        self._retry_at = now + RETRY_S
        self._away_until = now + self._settings.cache_ttl_s


def _reason(key: Key, secret: str) -> str:
    """Return why a secret that once opened something opens nothing now; "" where that is nobody's business."""
    if key.state == "expired" and secret.startswith(SESSION_PREFIX):
        return SESSION_EXPIRED
    return REASONS.get(key.state, "")


def _bound(entries: OrderedDict[bytes, _Known] | OrderedDict[bytes, _Refused], limit: int) -> None:
    while len(entries) > limit:
        entries.popitem(last=False)
