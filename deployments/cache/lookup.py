"""The deployment that stands between the ingress replicas and Redis.

One call carries many keys and becomes one MGET. Redis may vanish, freeze or
answer nonsense: look-ups are then misses that say why, at once after a few
failures in a row, and Redis is tried again with growing pauses.

`app.py` makes a Serve deployment of the class; here it is an ordinary one.
"""

import logging
from collections import Counter
from collections.abc import Sequence

from deployments.cache.breaker import BREAKER_OPEN, Breaker, BreakerOpen
from deployments.cache.remote import Found, write_timeout_s
from deployments.cache.store import CacheStore, RedisStore, StoreError
from deployments.config import Addresses, CacheSettings

log = logging.getLogger(__name__)


class CacheLookup:
    """Looks up and stores for all ingress replicas; holds nothing but connections."""

    def __init__(self, settings: CacheSettings, store: CacheStore | None = None) -> None:
        """Use `store`, by default the Redis of the environment (`REDIS_URL`); opens no connection yet."""
        self.failures: Counter[str] = Counter()
        self._store = store or _redis(settings)
        # A full or read-only Redis refuses writes and still answers look-ups.
        self._reading, self._writing = Breaker(), Breaker()

    async def lookup(self, keys: Sequence[str]) -> Found:
        """Return what is stored under the keys; a failure of Redis is a miss for all of them, never an exception."""
        try:
            with self._reading.attempt():
                return Found(await self._store.get_many(keys))
        except BreakerOpen:
            kind = BREAKER_OPEN
        except StoreError as error:
            kind = error.kind
            self._tell("cache look-up failed", self._reading, error)
        self.failures[kind] += 1
        return Found([None] * len(keys), kind)

    async def store(self, entries: Sequence[tuple[str, bytes, float]]) -> str:
        """Store each (key, value, seconds to live); return why that failed, or an empty string."""
        try:
            with self._writing.attempt():
                await self._store.set_many(entries)
                return ""
        except BreakerOpen:
            kind = BREAKER_OPEN
        except StoreError as error:
            kind = error.kind
            self._tell("cache store failed", self._writing, error)
        self.failures[f"store_{kind}"] += 1
        return kind

    async def check_health(self) -> None:
        """Be healthy as long as the replica runs: another one would not find Redis in a better state."""

    def _tell(self, message: str, breaker: Breaker, error: StoreError) -> None:
        """Log a failure with its kind; with the breaker open, that is once per trial."""
        log.warning(message, extra={"kind": error.kind, "breaker_is_open": breaker.is_open})


def _redis(settings: CacheSettings) -> RedisStore:
    # The answer "Redis is late" must itself arrive before the ingress gives up.
    return RedisStore(
        Addresses.from_environment().redis_url.get_secret_value(),
        namespace=settings.namespace,
        read_timeout_s=0.8 * settings.lookup_timeout_s,
        write_timeout_s=write_timeout_s(settings),
    )
