"""What an ingress replica holds of the cache.

    hot entries, one second ── miss ──▶ gathered call, 50 ms at most ──▶ CacheLookup ──▶ Redis

No method raises for anything that happens on that way, and none waits longer
than `cache.lookup_timeout_s`.
"""

from collections import Counter

from deployments.cache.entry import CacheEntry
from deployments.cache.expiring import ExpiringMap
from deployments.cache.gathering import Gatherer
from deployments.cache.remote import RemoteCache, write_timeout_s
from deployments.cache.writing import BackgroundWriter
from deployments.config import CacheSettings

# A purge elsewhere is seen after this time at the latest.
HOT_TTL_S = 1.0
HOT_BYTES = 32 * 1024 * 1024


class CacheClient:
    """Finds and stores answers for one event loop; `hits`, `hot_hits`, `misses` and `drops` count what happened."""

    def __init__(self, remote: RemoteCache, settings: CacheSettings) -> None:
        self.hits = 0
        self.hot_hits = 0
        self.misses: Counter[str] = Counter()
        self._max_entry_bytes = settings.max_entry_bytes
        self._hot: ExpiringMap[CacheEntry] = ExpiringMap(HOT_BYTES)
        self._gatherer = Gatherer(remote, settings.lookup_timeout_s)
        self._writer = BackgroundWriter(remote, settings.ttl_s, 1.5 * write_timeout_s(settings))

    @property
    def stored(self) -> int:
        """Entries that the store has taken."""
        return self._writer.stored

    @property
    def drops(self) -> Counter[str]:
        """Entries that were not stored, by reason."""
        return self._writer.drops

    async def lookup(self, key: str) -> CacheEntry | None:
        """Return the stored answer; None for a miss, whose reason is counted in `misses`."""
        entry = self._hot.get(key)
        if entry is not None:
            self.hits += 1
            self.hot_hits += 1
            return entry
        outcome = await self._gatherer.ask(key)
        if outcome.entry is None:
            self.misses[outcome.reason] += 1
            return None
        self.hits += 1
        self._hot.put(key, outcome.entry, outcome.entry.size_bytes, HOT_TTL_S)
        return outcome.entry

    def store(self, key: str, entry: CacheEntry) -> None:
        """Store a complete answer in the background; this replica finds it at once."""
        if entry.size_bytes > self._max_entry_bytes:
            self.drops["too_large"] += 1
            return
        self._hot.put(key, entry, entry.size_bytes, HOT_TTL_S)
        self._writer.put(key, entry)

    async def aclose(self) -> None:
        """Write what still waits, within a deadline, and end all calls."""
        await self._writer.aclose()
        await self._gatherer.aclose()


class NoCache:
    """The cache that is switched off: never finds, never stores, counts nothing."""

    async def lookup(self, key: str) -> CacheEntry | None:
        return None

    def store(self, key: str, entry: CacheEntry) -> None:
        pass

    async def aclose(self) -> None:
        pass
