"""What an ingress replica asks of the LangChain cache behind the cache deployment."""

import asyncio
import logging

from deployments.cache.entry import CacheEntry, decode
from deployments.cache.gathering import CacheResult
from deployments.cache.remote import RemoteCache, SimilarQuery
from deployments.cache.tally import Tally
from deployments.cache.writing import BackgroundWriter
from deployments.infra.detached import detached

log = logging.getLogger(__name__)

MAX_CALLS = 64
MAX_QUERY_BYTES = 256 * 1024
"""A similarity of longer texts means little: embeddings are made of their beginning."""

SIMILAR = "similar"


class SimilarClient:
    """Asks for many callers, each of whom waits `timeout_s` at most; the same question travels once."""

    def __init__(self, remote: RemoteCache, timeout_s: float, drops: Tally) -> None:
        """`drops` counts the answers that the cache was not taught, by reason."""
        self.similar_hits = 0
        self._remote = remote
        self._timeout_s = timeout_s
        self._calls: dict[str, asyncio.Task[CacheResult]] = {}
        # One at a time: LangChain's caches take no more, and some make an embedding of each.
        self._teacher = BackgroundWriter[SimilarQuery](
            remote.teach, timeout_s, drops, "langchain_", max_bytes_per_call=1
        )

    @property
    def taught(self) -> int:
        """Answers that the cache has taken."""
        return self._teacher.stored

    def teach(self, query: SimilarQuery, entry: CacheEntry, ttl_s: float) -> None:
        """Give the cache an answer in the background, to be given for `ttl_s` seconds."""
        if len(query.body) <= MAX_QUERY_BYTES:
            self._teacher.put(query, entry, ttl_s, len(query.body))

    async def ask(self, query: SimilarQuery) -> CacheResult:
        """Return the answer, `similar` as its reason if it was another question's; else why there is none."""
        call = self._calls.get(query.key)
        if call is None:
            if len(query.body) > MAX_QUERY_BYTES:
                return CacheResult(None, "langchain_too_large")
            if len(self._calls) >= MAX_CALLS:
                return CacheResult(None, "langchain_overflow")
            call = self._calls[query.key] = detached(self._call(query), "langchain-look-up")
            call.add_done_callback(lambda _: self._calls.pop(query.key, None))
        await asyncio.wait((call,), timeout=self._timeout_s)
        outcome = call.result() if call.done() and not call.cancelled() else CacheResult(None, "langchain_timeout")
        self.similar_hits += outcome.reason == SIMILAR
        return outcome

    async def aclose(self) -> None:
        """Teach what waits, within the deadline of one call, and give up all others; pending look-ups become misses."""
        await self._teacher.aclose()
        calls = tuple(self._calls.values())
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)

    async def _call(self, query: SimilarQuery) -> CacheResult:
        try:
            async with asyncio.timeout(self._timeout_s):
                found = await self._remote.lookup_similar(query)
            if found.value is None:
                return CacheResult(None, f"langchain_{found.failure}" if found.failure else "")
            entry = decode(found.value)
            return (
                CacheResult(entry, SIMILAR if found.is_similar else "")
                if entry
                else CacheResult(None, "langchain_garbage")
            )
        except TimeoutError:
            return CacheResult(None, "langchain_timeout")
        except Exception as error:  # noqa: BLE001 - the boundary to the other replica: a look-up never fails a request
            log.warning("cache deployment did not answer", extra={"error": type(error).__name__})
            return CacheResult(None, "langchain_deployment")
