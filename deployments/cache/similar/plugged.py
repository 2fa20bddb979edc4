"""The operator's LangChain cache, at arm's length.

Its code runs in a thread of its own: whatever blocks there, blocks no look-up of the
exact store and no event loop of Serve's. A cache without asynchronous methods is called
in threads by LangChain itself, a few at a time. What stays late or fails several times
in a row is left alone for a while.
"""

import asyncio
import functools
import importlib
import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final

from langchain_core.caches import BaseCache
from langchain_core.outputs import Generation

from deployments.cache.loop_thread import LoopThread
from deployments.config import CacheSettings
from deployments.infra.breaker import BREAKER_OPEN, Breaker, BreakerOpen

log = logging.getLogger(__name__)

TIMEOUT: Final = "timeout"
FAILED: Final = "failed"


class PluggedError(Exception):
    """The cache did not do what it was asked; `kind` is a word for the counters."""

    def __init__(self, kind: str = FAILED) -> None:
        self.kind = kind
        super().__init__(kind)


def named(path: str) -> Any:
    """Return what stands at `package.module:attribute`: a cache, or what makes one; raises ValueError that says why."""
    module, _, attribute = path.partition(":")
    try:
        found: Any = functools.reduce(getattr, attribute.split("."), importlib.import_module(module))
    except (ImportError, AttributeError) as error:
        raise ValueError(f"cache.langchain: {path!r} cannot be imported: {error}") from error
    if not isinstance(found, BaseCache) and not callable(found):
        raise ValueError(f"cache.langchain: {path!r} is neither a LangChain cache (BaseCache) nor makes one")
    return found


def loaded(path: str, settings: CacheSettings | None = None) -> BaseCache:
    """Return the cache at a path, made by a call if it is none yet; raises ValueError as `named`.

    The call has no argument, but for what says by `takes_settings` that it takes the cache's settings.
    """
    found = named(path)
    arguments = (settings or CacheSettings(),) if getattr(found, "takes_settings", False) else ()
    made = found if isinstance(found, BaseCache) else found(*arguments)
    if not isinstance(made, BaseCache):
        raise ValueError(f"cache.langchain: {path!r} makes no LangChain cache (BaseCache) but {type(made).__name__}")
    return made


class PluggedCache:
    """Every method raises `PluggedError` and nothing else, `timeout_s` after its call at the latest."""

    def __init__(self, cache: BaseCache, timeout_s: float) -> None:
        self._cache = cache
        self._timeout_s = timeout_s
        self._thread = LoopThread("langchain")
        # A cache that refuses writes may still answer look-ups.
        self._reading, self._writing = Breaker(), Breaker()

    @property
    def is_stopped(self) -> bool:
        """Whether look-ups are refused right now."""
        return self._reading.is_open

    async def lookup(self, prompt: str, llm_string: str) -> Any:
        """Return what the cache returns, which may be anything; None for nothing."""
        return await self._call(self._reading, lambda: self._cache.alookup(prompt, llm_string))

    async def update(self, prompt: str, llm_string: str, generations: Sequence[Generation]) -> None:
        """Give the cache an answer to keep."""
        await self._call(self._writing, lambda: self._cache.aupdate(prompt, llm_string, list(generations)))

    async def _call(self, breaker: Breaker, call: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        async def called() -> Any:  # the foreign code's first line runs in the thread, as its last
            return await call()

        try:
            with breaker.attempt():
                async with asyncio.timeout(self._timeout_s):
                    return await asyncio.wrap_future(self._thread.submit(called()))
        except BreakerOpen:
            raise PluggedError(BREAKER_OPEN) from None
        except TimeoutError:
            raise PluggedError(TIMEOUT) from None
        except Exception as error:
            log.warning("the LangChain cache failed", extra={"error": type(error).__name__})
            raise PluggedError from error
