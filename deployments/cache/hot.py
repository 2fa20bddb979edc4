"""The answers that an ingress replica keeps in memory: a hit there costs no call.

They are only served while this replica knows that nothing was purged: each answer of
the remote cache tells the version of all purges, and in between somebody asks for it
twice a second. Another version empties the memory; a version older than a second
serves nothing. So a purge holds here within a second, whatever happens on the way.
"""

import asyncio
import logging
import math
import time
from collections.abc import Callable

from deployments.cache.entry import CacheEntry
from deployments.cache.expiring import ExpiringMap
from deployments.cache.remote import RemoteCache
from deployments.infra.detached import detached

log = logging.getLogger(__name__)

VIEW_TTL_S = 1.0
POLL_S = 0.4
# Nobody asks for versions in a replica that nobody asks for answers.
IDLE_S = 10.0


class HotEntries:
    """Entries in memory, for `ttl_s` each and `max_bytes` in all, and what is known of purges."""

    def __init__(
        self,
        remote: RemoteCache,
        max_bytes: int,
        ttl_s: float,
        timeout_s: float,
        clock: Callable[[], float] | None = None,
    ) -> None:
        """`timeout_s` is how long the remote cache may take to tell its version."""
        self._remote = remote
        self._ttl_s = ttl_s
        self._timeout_s = timeout_s
        self._clock = clock or time.monotonic
        self._entries: ExpiringMap[CacheEntry] = ExpiringMap(max_bytes, self._clock)
        self._version = ""
        self._seen_at = float("-inf")
        self._purged_at = float("-inf")
        self._used_at = float("-inf")
        self._poller: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def held_bytes(self) -> int:
        """Size of the entries in bytes."""
        return self._entries.held_bytes

    @property
    def version(self) -> str:
        """The version of all purges as it was seen last; empty before that."""
        return self._version

    @property
    def view(self) -> str:
        """The version while it is current; otherwise a text that differs each time the purges are unknown here."""
        return self._version if self.is_current else f"{self._version}?{max(self._seen_at, self._purged_at)}"

    @property
    def is_current(self) -> bool:
        """Whether the version is known as it was less than a second ago."""
        return self._clock() - self._seen_at < VIEW_TTL_S

    def get(self, key: str) -> CacheEntry | None:
        """Return the entry; None if there is none, or if it could have been purged."""
        self._used_at = self._clock()
        if self._poller is None or self._poller.done():
            self._poller = detached(self._poll_while_used(), "cache-version")
        return self._entries.get(key) if self.is_current else None

    def put(self, key: str, entry: CacheEntry, version: str | None = None, ttl_s: float = math.inf) -> None:
        """Keep an entry that was found, or began to be generated, at `version`, unless that has passed.

        `ttl_s` bounds how long; of one that was found it is not known, so that it may outlive its time by a little.
        """
        if version is None or version == self._version:
            self._entries.put(key, entry, entry.size_bytes, min(ttl_s, self._ttl_s))

    def saw(self, version: str, asked_at: float) -> None:
        """Note the version of an answer to what was asked at that time (monotonic seconds)."""
        if asked_at < max(self._seen_at, self._purged_at):
            return
        if version != self._version:
            self.clear()
        self._version, self._seen_at = version, asked_at

    def clear(self) -> None:
        """Drop everything."""
        self._entries.discard_prefix("")

    def purged(self) -> None:
        """Drop everything, and serve nothing before a version is seen that was asked for after this."""
        self.clear()
        self._purged_at, self._seen_at = self._clock(), float("-inf")

    async def aclose(self) -> None:
        """Stop asking for versions."""
        if self._poller is not None:
            self._poller.cancel()
            await asyncio.gather(self._poller, return_exceptions=True)

    async def _poll_while_used(self) -> None:
        while self._clock() - self._used_at < IDLE_S:
            await asyncio.sleep(POLL_S)
            await self._ask()
            self._entries.drop()

    async def _ask(self) -> None:
        asked_at = self._clock()
        try:
            async with asyncio.timeout(self._timeout_s):
                found = await self._remote.lookup(())
            if not found.failure:
                self.saw(found.version, asked_at)
        except Exception as error:  # noqa: BLE001 - the boundary to the other replica: without a version nothing is served
            log.debug("the cache's version is unknown", extra={"error": type(error).__name__})
