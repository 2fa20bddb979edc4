"""Where an answer comes from: the cache, a generation in flight, or a new one."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from deployments.cache.claims import Claim, name_since
from deployments.cache.entry import CacheEntry
from deployments.cache.gathering import CacheResult
from deployments.cache.remote import SimilarQuery
from deployments.cache.steering import CacheControl, describe
from deployments.chat.coalescing import Coalescer, Generate
from deployments.chat.generation import Subscription
from deployments.errors import NotCached
from deployments.models.protocol import ModelRequest, Reply


class Cache(Protocol):
    """What has been answered before, and who is answering now."""

    @property
    def is_on(self) -> bool:
        """Whether anything is ever found."""
        ...

    def hot(self, key: str) -> CacheEntry | None:
        """Return the entry if this process holds it in memory."""
        ...

    async def lookup_or_claim(self, key: str, claim: Claim | None = None) -> CacheResult:
        """Return the entry, or the reason for a miss and who generates the answer now. Never raises, never waits long.

        A late, failing or garbled answer is a miss as well. `claim` asks
        for the right to generate.
        """
        ...

    @property
    def version(self) -> str:
        """The version of all purges as it was seen last, by each look-up that the store answered."""
        ...

    @property
    def is_current(self) -> bool:
        """Whether that was less than a second ago."""
        ...

    @property
    def view(self) -> str:
        """The version while it is current; otherwise a text that differs each time the purges are unknown here."""
        ...

    async def refresh(self, key: str) -> None:
        """Read the version again where nothing is looked up for `key`. Never raises; waits no longer than a look-up."""
        ...

    @property
    def looks_up_similar(self) -> bool:
        """Whether `lookup_similar` ever finds anything."""
        ...

    async def lookup_similar(self, query: SimilarQuery) -> CacheResult:
        """Return an answer to this question or to a similar one (the reason says which), or why there is none.

        Never raises, and waits longer than `lookup_or_claim`.
        """
        ...

    async def acquire(self, claims: Sequence[Claim]) -> list[bytes]:
        """Return who holds each claim's name now; an empty list if that is not known in time. Never raises."""
        ...

    def store(self, key: str, entry: CacheEntry, query: SimilarQuery | None = None) -> None:
        """Keep an answer, in the background; drops it when too many wait. Never raises, never waits.

        What the query's version says to be older than the last purge is dropped too.
        """
        ...


@dataclass(frozen=True, slots=True)
class CacheQuery:
    """What is looked up: the key (None for what must not be cached, and `bypass_reason` why), and how."""

    key: str | None
    bypass_reason: str
    control: CacheControl
    reply_id: str
    """The id of an answer that another request began."""


@dataclass(frozen=True, slots=True)
class LookupResult:
    """A stored answer, or a subscription to a generation, which must be closed.

    `result` is HIT, MISS, BYPASS or JOIN; `reason` says why there was no hit, or how the stored answer was found.
    """

    result: str
    answer: CacheEntry | Subscription
    reason: str = ""


class AnswerLookup:
    """Finds answers for one ingress replica."""

    def __init__(self, cache: Cache, coalescer: Coalescer) -> None:
        self._cache = cache
        self._coalescer = coalescer

    async def find(self, query: CacheQuery, request: ModelRequest, generate: Generate) -> LookupResult:
        """Return where the answer comes from; what `generate` brings is stored, if it may be, once it is whole.

        Raises NotCached where only a stored answer will do.
        """
        key, control = query.key, query.control
        if key is None or control.no_cache:
            reason = query.bypass_reason or "no_cache"
            if control.only_if_cached:
                raise _not_cached(reason)
            if key is None:
                return LookupResult("BYPASS", self._coalescer.start(generate), reason)
            await self._cache.refresh(key)
            stored_as = _similar_query(key, request, self._cache.version)
            return LookupResult("BYPASS", self._coalescer.start(generate, partial(self._store, stored_as)), reason)
        if (entry := self._cache.hot(key)) and _is_fresh(entry, control):
            return LookupResult("HIT", entry)
        if self._cache.is_current and not control.only_if_cached:
            name = self._in_flight(key, request, self._cache.version)
            if name:
                return self._join(name, CacheResult(None, version=self._cache.version), query, request, generate)
        name = _name(key, request, request.stream)
        outcome = await self._looked_up(_similar_query(key, request), name, control)
        if outcome.entry:
            return LookupResult("HIT", outcome.entry, outcome.reason)
        if control.only_if_cached:
            raise _not_cached(outcome.reason)
        # A replica that does not know whether there was a purge shares only with others that do not know either.
        version = self._cache.view if outcome.version is None else outcome.version
        name = self._in_flight(key, request, version) or name_since(name, version)
        return self._join(name, outcome, query, request, generate)

    async def _looked_up(self, query: SimilarQuery, name: str, control: CacheControl) -> CacheResult:
        """Return what is stored, else what a LangChain cache finds, else who generates the answer called `name`."""
        claim = None if control.only_if_cached else self._coalescer.claim(name)
        # What is claimed must begin at once: with a LangChain cache, that is only once it has found nothing.
        outcome = await self._cache.lookup_or_claim(query.key, None if self._cache.looks_up_similar else claim)
        if outcome.entry:
            if _is_fresh(outcome.entry, control):
                return CacheResult(outcome.entry)
            outcome = CacheResult(None, "stale", version=outcome.version)
        version = outcome.version
        if version is None:  # the store is out of reach
            return outcome
        if self._cache.looks_up_similar:
            found = await self._cache.lookup_similar(query)
            if found.entry and _is_fresh(found.entry, control):
                return found
            outcome = CacheResult(
                None, found.reason if not found.entry and found.reason else outcome.reason, b"", version
            )
        elif outcome.reason == "absent":
            return outcome
        # Something was there, or nothing was claimed yet.
        owner = next(iter(await self._cache.acquire([claim.since(version)])), b"") if claim else b""
        return CacheResult(None, outcome.reason, owner, version)

    def _in_flight(self, key: str, request: ModelRequest, version: str) -> str:
        """Return the generation of this replica that brings the answer: a stream answers a plain request as well.

        One that began before a purge does not.
        """
        names = (_name(key, request, streams) for streams in (True, request.stream))
        return next((n for n in (name_since(n, version) for n in names) if self._coalescer.is_in_flight(n)), "")

    def _join(
        self, name: str, outcome: CacheResult, query: CacheQuery, request: ModelRequest, generate: Generate
    ) -> LookupResult:
        version = self._cache.version if outcome.version is None else outcome.version
        store = partial(self._store, _similar_query(query.key or "", request, version))
        subscription, is_joined = self._coalescer.join(name, outcome.owner, generate, store, query.reply_id)
        return LookupResult("JOIN", subscription) if is_joined else LookupResult("MISS", subscription, outcome.reason)

    def _store(self, query: SimilarQuery, reply: Reply, frames: bytes) -> None:
        if reply.may_be_kept:
            self._cache.store(query.key, CacheEntry(reply.body, frames, time.time()), query)


def _name(key: str, request: ModelRequest, streams: bool) -> str:
    """Return a generation's name: a plain one cannot serve a stream, nor an untrimmed one a trimmed answer."""
    return f"{key}:{'stream' if streams else 'plain'}{':trim' if request.trim else ''}"


def _similar_query(key: str, request: ModelRequest, version: str | None = None) -> SimilarQuery:
    return SimilarQuery(key, request.endpoint, request.body, request.trim, version)


def _is_fresh(entry: CacheEntry, control: CacheControl) -> bool:
    return control.max_age_s is None or time.time() - entry.created_at <= control.max_age_s


def _not_cached(reason: str) -> NotCached:
    return NotCached(f"The request asked for a cached answer only, and there is none: {describe(reason)}.")
