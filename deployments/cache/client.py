"""What an ingress replica holds of the cache.

    hot entries ── miss ──▶ gathered call, 50 ms at most ──▶ CacheLookup ──▶ Redis
                            ── miss ──▶ a call of its own ──▶ CacheLookup ──▶ a LangChain cache, if one is plugged in

No method raises for anything that happens on that way, and none waits longer
than `cache.lookup_timeout_s`, or for the LangChain cache `cache.langchain_timeout_s`.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Mapping, Sequence

from deployments.cache.claims import Claim
from deployments.cache.entry import CacheEntry
from deployments.cache.gathering import CacheResult, Gatherer
from deployments.cache.hot import HotEntries
from deployments.cache.key import model_in_key, model_part
from deployments.cache.purging import Purge
from deployments.cache.remote import LookupFigures, RemoteCache, SimilarQuery, write_timeout_s
from deployments.cache.similar.client import SimilarClient
from deployments.cache.tally import Tally
from deployments.cache.writing import BackgroundWriter
from deployments.config import CachePolicy, CacheSettings, ModelCacheSettings

log = logging.getLogger(__name__)

# Purges and figures are for administrators, who would rather wait than be told nothing.
ADMIN_TIMEOUT_S = 5.0
GENERATED_TTL_S = 2.0
"""How long a new answer stays in memory here: by then Redis has it. Few are asked for again, and those come back."""

_Place = tuple[str, str | None]
"""A key, and the version of all purges when its answer began to be generated."""


class CacheClient:
    """Finds and stores answers for one event loop; `hits`, `misses` and `drops` count what happened."""

    is_on = True

    def __init__(
        self, remote: RemoteCache, settings: CacheSettings, models: Mapping[str, ModelCacheSettings] | None = None
    ) -> None:
        """`models` are the settings of models of their own, by their identities."""
        self.hits = 0
        self.hot_hits = 0
        self.misses: Counter[str] = Counter()
        self._policy: CachePolicy = settings
        self._models: dict[str, ModelCacheSettings] = {}
        self.keep(models or {})
        self.memory = HotEntries(remote, settings.hot_bytes, settings.hot_ttl_s, settings.lookup_timeout_s)
        self._gatherer = Gatherer(remote, settings.lookup_timeout_s, self.memory.saw)
        self._remote = remote
        self._timeout_s = settings.lookup_timeout_s
        self.drops = Tally()
        self._writer = BackgroundWriter[_Place](self._write, 1.5 * write_timeout_s(settings), self.drops)
        timeout_s = settings.langchain_timeout_s
        self.similar_client = SimilarClient(remote, timeout_s, self.drops) if settings.langchain else None

    def configure(self, policy: CachePolicy, models: Mapping[str, ModelCacheSettings]) -> None:
        """Keep answers by this policy from now on, and those of these identities by theirs."""
        self._policy = policy
        self.keep(models)

    def keep(self, models: Mapping[str, ModelCacheSettings]) -> None:
        """Keep the answers of these identities by these settings too."""
        self._models |= {model_part(identity): model for identity, model in models.items()}

    @property
    def stored(self) -> int:
        """Entries that the store has taken."""
        return self._writer.stored

    @property
    def looks_up_similar(self) -> bool:
        """Whether there is a LangChain cache to ask."""
        return self.similar_client is not None

    async def lookup(self, key: str) -> CacheEntry | None:
        """Return the stored answer; None for a miss, whose reason is counted in `misses`."""
        return self.hot(key) or (await self.lookup_or_claim(key)).entry

    def hot(self, key: str) -> CacheEntry | None:
        """Return the stored answer if this replica holds it in memory."""
        entry = self.memory.get(key)
        if entry is not None:
            self.hits += 1
            self.hot_hits += 1
        return entry

    async def lookup_or_claim(self, key: str, claim: Claim | None = None) -> CacheResult:
        """Return the stored answer; for a miss its reason, and who generates the answer now: at best, `claim` does."""
        outcome = await self._gatherer.ask(key, claim)
        if outcome.entry is None:
            self.misses[outcome.reason] += 1
            return outcome
        self.hits += 1
        self.memory.put(key, outcome.entry, outcome.version)
        return outcome

    @property
    def version(self) -> str:
        """The version of all purges, as this replica saw it last."""
        return self.memory.version

    @property
    def is_current(self) -> bool:
        """Whether that was less than a second ago."""
        return self.memory.is_current

    @property
    def view(self) -> str:
        """The version while it is current; otherwise a text that differs each time the purges are unknown here."""
        return self.memory.view

    async def refresh(self, key: str) -> None:
        """See the version anew unless it is current; for that, `key` is looked up in vain."""
        if not self.is_current:
            await self._gatherer.ask(key)

    async def lookup_similar(self, query: SimilarQuery) -> CacheResult:
        """Return what the LangChain cache finds, `similar` as its reason if it was given to another question.

        For a miss the reason is why, or empty where nothing was found.
        """
        outcome = await self.similar_client.ask(query) if self.similar_client else CacheResult(None, "off")
        if outcome.entry is not None:
            self.hits += 1
        elif outcome.reason:
            self.misses[outcome.reason] += 1
        return outcome

    async def acquire(self, claims: Sequence[Claim]) -> list[bytes]:
        """Return who holds each claim's name now, an empty list if that cannot be told in time."""
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._remote.acquire(claims)
        except Exception as error:  # noqa: BLE001 - the boundary to the other replica: it never fails a request
            log.warning("cache deployment did not renew leases", extra={"error": type(error).__name__})
            return []

    def store(self, key: str, entry: CacheEntry, query: SimilarQuery | None = None) -> None:
        """Store a complete answer in the background; this replica finds it at once.

        `query` is what a LangChain cache knows the answer by. An answer whose generation began before a
        purge, which the query's version tells, is not kept anywhere.
        """
        version = query.version if query else None
        model = self._models.get(model_in_key(key)) or ModelCacheSettings()
        if entry.size_bytes > (model.max_entry_bytes or self._policy.max_entry_bytes):
            self.drops.count("too_large")
            return
        ttl_s = model.ttl_s or self._policy.ttl_s
        self.memory.put(key, entry, version, min(ttl_s, GENERATED_TTL_S))
        self._writer.put((key, version), entry, ttl_s)
        if query is not None and self.similar_client:
            self.similar_client.teach(query, entry, ttl_s)

    async def _write(self, entries: Sequence[tuple[_Place, bytes, float]]) -> str:
        placed = [(key, value, ttl_s) for (key, _), value, ttl_s in entries]
        return await self._remote.store(placed, [version for (_, version), _, _ in entries])

    async def purge(self, purge: Purge) -> str:
        """Take answers back, here at once and on every replica within a second; return why that failed, or nothing."""
        try:
            async with asyncio.timeout(ADMIN_TIMEOUT_S):
                return await self._remote.purge(purge)
        except Exception as error:  # noqa: BLE001 - the boundary to the other replica
            log.warning("cache deployment did not purge", extra={"error": type(error).__name__})
            return "deployment"
        finally:
            self.memory.purged()

    async def figures(self) -> LookupFigures | None:
        """Return what a replica of the cache deployment has seen; None if it does not answer."""
        try:
            async with asyncio.timeout(ADMIN_TIMEOUT_S):
                return await self._remote.figures()
        except Exception as error:  # noqa: BLE001 - the boundary to the other replica
            log.warning("cache deployment did not report figures", extra={"error": type(error).__name__})
            return None

    async def aclose(self) -> None:
        """Write what still waits, within a deadline, and end all calls."""
        await self._writer.aclose()
        await self._gatherer.aclose()
        if self.similar_client:
            await self.similar_client.aclose()
        await self.memory.aclose()
        await self._remote.aclose()


class NoCache:
    """The cache that is switched off: never finds, never stores, counts nothing."""

    is_on = False
    looks_up_similar = False
    version = view = ""
    is_current = True

    def configure(self, policy: CachePolicy, models: Mapping[str, ModelCacheSettings]) -> None:
        pass

    def keep(self, models: Mapping[str, ModelCacheSettings]) -> None:
        pass

    async def lookup(self, key: str) -> CacheEntry | None:
        return None

    def hot(self, key: str) -> CacheEntry | None:
        return None

    async def lookup_or_claim(self, key: str, claim: Claim | None = None) -> CacheResult:
        return CacheResult(None, "off")

    async def lookup_similar(self, query: SimilarQuery) -> CacheResult:
        return CacheResult(None, "off")

    async def refresh(self, key: str) -> None:
        pass

    async def acquire(self, claims: Sequence[Claim]) -> list[bytes]:
        return []

    def store(self, key: str, entry: CacheEntry, query: SimilarQuery | None = None) -> None:
        pass

    async def aclose(self) -> None:
        pass
