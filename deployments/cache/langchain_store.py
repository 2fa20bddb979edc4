"""The response store as LangChain's cache: `set_llm_cache(RedisCache(url))` in any LangChain program.

Only GET, SET and UNLINK, so that it works on Redis, on Valkey and in a cluster,
without modules. LangChain calls from threads and from event loops of all kinds,
while connections belong to one loop: the cache runs one of its own, in a thread.
"""

import asyncio
import hashlib
import json
import logging
from collections.abc import Coroutine, Sequence
from functools import cached_property
from typing import Any, TypeVar, cast

from langchain_core._api import suppress_langchain_beta_warning
from langchain_core.caches import BaseCache
from langchain_core.load import dumps, loads
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, Generation, GenerationChunk

from deployments.cache.loop_thread import LoopThread
from deployments.cache.store import CacheStore, RedisStore
from deployments.infra.redis.errors import StoreError

log = logging.getLogger(__name__)

PREFIX = "langchain:v1:"
# What is read back builds objects: these and no others.
ALLOWED = [Generation, GenerationChunk, ChatGeneration, ChatGenerationChunk, AIMessage, AIMessageChunk]

T = TypeVar("T")


class RedisCache(BaseCache):
    """Keeps generations for `ttl_s` seconds. Whatever Redis does, a look-up is a miss and an update is dropped."""

    def __init__(self, store: CacheStore | str, ttl_s: float = 86_400.0) -> None:
        """Use a store, or the Redis of an address; connects and starts its thread with the first call."""
        self._store = RedisStore(store, read_timeout_s=1.0) if isinstance(store, str) else store
        self._ttl_s = ttl_s

    def lookup(self, prompt: str, llm_string: str) -> Sequence[Generation] | None:
        return self._wait(self._lookup(prompt, llm_string))

    async def alookup(self, prompt: str, llm_string: str) -> Sequence[Generation] | None:
        return await self._await(self._lookup(prompt, llm_string))

    def update(self, prompt: str, llm_string: str, return_val: Sequence[Generation]) -> None:
        self._wait(self._update(prompt, llm_string, return_val))

    async def aupdate(self, prompt: str, llm_string: str, return_val: Sequence[Generation]) -> None:
        await self._await(self._update(prompt, llm_string, return_val))

    def clear(self, **kwargs: Any) -> None:
        """Delete what LangChain programs stored here, and nothing else. Raises StoreError if that fails."""
        self._wait(self._store.clear(PREFIX))

    async def aclear(self, **kwargs: Any) -> None:
        await self._await(self._store.clear(PREFIX))

    def close(self) -> None:
        """Close the connections and end the thread; the cache cannot be used afterwards."""
        self._wait(self._store.aclose())
        self._thread.close()

    async def _lookup(self, prompt: str, llm_string: str) -> list[Generation] | None:
        try:
            (stored,) = await self._store.get_many([_key(prompt, llm_string)])
        except StoreError as error:
            log.warning("LangChain cache look-up failed", extra={"kind": error.kind})
            return None
        return _generations(stored) if stored else None

    async def _update(self, prompt: str, llm_string: str, generations: Sequence[Generation]) -> None:
        try:
            await self._store.set_many([(_key(prompt, llm_string), dumps(list(generations)).encode(), self._ttl_s)])
        except StoreError as error:
            log.warning("LangChain cache update failed", extra={"kind": error.kind})

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        return self._thread.submit(work).result()

    async def _await(self, work: Coroutine[Any, Any, T]) -> T:
        return await asyncio.wrap_future(self._thread.submit(work))

    @cached_property
    def _thread(self) -> LoopThread:
        return LoopThread("langchain-cache")


def _key(prompt: str, llm_string: str) -> str:
    return PREFIX + hashlib.sha256(json.dumps([prompt, llm_string]).encode()).hexdigest()


def _generations(stored: bytes) -> list[Generation] | None:
    """Read generations back; None for anything else that lies under the key."""
    try:
        with suppress_langchain_beta_warning():
            found: Any = loads(stored.decode(), allowed_objects=ALLOWED)
    except (ValueError, TypeError, KeyError, NotImplementedError):
        return None
    items = cast("list[Any]", found) if isinstance(found, list) else []
    return items if items and all(isinstance(item, Generation) for item in items) else None
