"""The deployment that stands between the ingress replicas and Redis.

One call carries many keys and becomes one MGET; what is missing is claimed in
the same call, so that of all replicas one generates it (claims.py). Redis may vanish, freeze or
answer nonsense: look-ups are then misses that say why, at once after a few
failures in a row, and Redis is tried again with growing pauses. A LangChain cache that
is plugged in (similar/) is asked here too, by a call of its own.

`app.py` makes a Serve deployment of the class; here it is an ordinary one.
"""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from ray.util import get_node_ip_address

from deployments.cache.claims import Claim, Claims, MemoryClaims, RedisClaims
from deployments.cache.lookup_server import LookupServer
from deployments.cache.purging import Purge, PurgeableAnswers
from deployments.cache.remote import LookupFigures, LookupReply, SimilarQuery, SimilarReply, write_timeout_s
from deployments.cache.store import CacheStore, RedisStore
from deployments.config import Addresses, CacheSettings
from deployments.infra.breaker import BREAKER_OPEN, Breaker, BreakerOpen
from deployments.infra.redis.errors import StoreError
from deployments.infra.transport.server import Address

if TYPE_CHECKING:
    from deployments.cache.similar.answers import SimilarAnswers

log = logging.getLogger(__name__)


class CacheLookup:
    """Looks up and stores for all ingress replicas; holds nothing but connections."""

    is_encrypted: bool | None = None
    """Whether connections of ingress replicas are encrypted; None: unless they cannot come from another machine."""

    def __init__(self, settings: CacheSettings, store: CacheStore | None = None, claims: Claims | None = None) -> None:
        """Use `store`, by default the Redis of the environment (`REDIS_URL`); opens no connection yet.

        Makes the LangChain cache of the settings; raises ValueError if there is no such thing.
        """
        self.failures: Counter[str] = Counter()
        self._claims = claims or (MemoryClaims() if store else _redis_claims(settings))
        self._store = store or _redis(settings)
        self._answers = PurgeableAnswers(self._store)
        # A full or read-only Redis refuses writes and still answers look-ups.
        self._reading, self._writing = Breaker(), Breaker()
        self._similar = _similar(settings, self._answers)
        self._server = LookupServer(self.lookup)
        self._version = ""

    async def lookup(self, keys: Sequence[str], claims: Sequence[Claim | None] = ()) -> LookupReply:
        """Return what is stored under the keys; a failure of Redis is a miss for all of them, never an exception.

        Without a key it tells the version alone.
        """
        try:
            likely = self._likely(claims)
            with self._reading.attempt():
                values, version, owners = await self._answers.lookup_or_claim(keys, likely)
            self._version = version
            if not any(claims):
                return LookupReply(values, "", [], version)
            claims = [claim and claim.since(version) for claim in claims]
            known = {claim: owner for claim, owner in zip(likely, owners, strict=True) if claim and owner}
            return LookupReply(values, "", await self._held(values, claims, known), version)
        except BreakerOpen:
            kind = BREAKER_OPEN
        except StoreError as error:
            kind = error.kind
            self._log_failure("cache look-up failed", self._reading, error)
        self.failures[kind] += 1
        return LookupReply([None] * len(keys), kind)

    def _likely(self, claims: Sequence[Claim | None]) -> list[Claim | None]:
        """Return the claims as they are if nothing has been purged since the last look-up, to be made along with it.

        Else, and where something stands under the key that was purged, a claim costs a round trip of its own.
        """
        if not isinstance(self._claims, RedisClaims) or self._writing.is_open:
            return []
        return [claim and claim.since(self._version) for claim in claims]

    async def _held(
        self, values: Sequence[bytes | None], claims: Sequence[Claim | None], known: Mapping[Claim, bytes]
    ) -> list[bytes]:
        """Return who holds what is missing: as `known` says, else as `acquire` says."""
        wanted = [c for value, c in zip(values, claims, strict=True) if value is None and c and c not in known]
        owners = {**known, **dict(zip(wanted, await self.acquire(wanted), strict=False))} if wanted else known
        pairs = zip(values, claims, strict=True)
        return [owners.get(claim, b"") if claim and value is None else b"" for value, claim in pairs]

    async def acquire(self, claims: Sequence[Claim]) -> list[bytes]:
        """Claim names, or renew or take over claims; empty, never an exception, if Redis does not answer."""
        try:
            with self._writing.attempt():
                return await self._claims.acquire(claims)
        except BreakerOpen:
            kind = BREAKER_OPEN
        except StoreError as error:
            kind = error.kind
            self._log_failure("cache claim failed", self._writing, error)
        self.failures[f"claim_{kind}"] += 1
        return []

    async def store(self, entries: Sequence[tuple[str, bytes, float]], versions: Sequence[str | None] = ()) -> str:
        """Store each (key, value, seconds to live) as `PurgeableAnswers` does; return why that failed, or nothing."""
        try:
            with self._writing.attempt():
                await self._answers.store(entries, versions)
                return ""
        except BreakerOpen:
            kind = BREAKER_OPEN
        except StoreError as error:
            kind = error.kind
            self._log_failure("cache store failed", self._writing, error)
        self.failures[f"store_{kind}"] += 1
        return kind

    async def lookup_similar(self, query: SimilarQuery) -> SimilarReply:
        """Ask the LangChain cache for a similar question's answer; whatever fails is a miss that says why."""
        if self._similar is None:
            return SimilarReply(None)
        try:
            found = await self._similar.lookup_similar(query)
        except StoreError as error:  # without its marks it is not known what was purged
            found = SimilarReply(None, f"redis_{error.kind}")
        if found.failure:
            self.failures[f"langchain_{found.failure}"] += 1
        return found

    async def teach(self, lessons: Sequence[tuple[SimilarQuery, bytes, float]]) -> str:
        """Give the LangChain cache answers; return why one was not taken, or an empty string."""
        try:
            failure = await self._similar.teach(lessons) if self._similar else ""
        except StoreError as error:
            failure = f"redis_{error.kind}"
        if failure:
            self.failures[f"langchain_store_{failure}"] += 1
        return failure

    async def purge(self, purge: Purge) -> str:
        """Take answers back; return why that failed, or an empty string. Tried even while others are not."""
        try:
            await self._answers.purge(purge)
            return ""
        except StoreError as error:
            self.failures[f"purge_{error.kind}"] += 1
            return error.kind

    async def figures(self) -> LookupFigures:
        """Return what this replica has seen of Redis, and what Redis holds."""
        store = None
        with suppress(StoreError):
            store = await self._store.figures()
        is_stopped = self._similar is not None and self._similar.is_stopped
        return LookupFigures(dict(self.failures), self._reading.is_open, self._writing.is_open, is_stopped, store)

    async def address(self) -> Address:
        """Return where an ingress replica may connect to look up (lookup_client.py)."""
        return await self._server.address(get_node_ip_address(), self.is_encrypted)

    async def aclose(self) -> None:
        """Close the connections of ingress replicas."""
        await self._server.aclose()

    async def check_health(self) -> None:
        """Be healthy as long as the replica runs: another one would not find Redis in a better state."""

    def _log_failure(self, message: str, breaker: Breaker, error: StoreError) -> None:
        """Log a failure with its kind; with the breaker open, that is once per trial."""
        log.warning(message, extra={"kind": error.kind, "breaker_is_open": breaker.is_open})


def _similar(settings: CacheSettings, answers: PurgeableAnswers) -> "SimilarAnswers | None":
    if not settings.langchain:
        return None
    # LangChain is for those who use it.
    from deployments.cache.similar.answers import SimilarAnswers
    from deployments.cache.similar.plugged import PluggedCache, loaded

    # As with Redis, the answer "it is late" must arrive before the ingress gives up.
    return SimilarAnswers(
        PluggedCache(loaded(settings.langchain, settings), 0.8 * settings.langchain_timeout_s), answers
    )


def _redis(settings: CacheSettings) -> RedisStore:
    # The answer "Redis is late" must itself arrive before the ingress gives up.
    return RedisStore(
        Addresses.from_environment().redis_url.get_secret_value(),
        namespace=settings.namespace,
        read_timeout_s=0.8 * settings.lookup_timeout_s,
        write_timeout_s=write_timeout_s(settings),
    )


def _redis_claims(settings: CacheSettings) -> RedisClaims:
    url = Addresses.from_environment().redis_url.get_secret_value()
    return RedisClaims(url, settings.namespace, 0.8 * settings.lookup_timeout_s)
