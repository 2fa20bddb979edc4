"""The whole HTTP application in this process on real stores: all but Ray and a real model."""

import asyncio
import secrets
import threading
from collections.abc import AsyncGenerator, Callable, Generator
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
from pydantic import SecretStr
from starlette.types import ASGIApp

from deployments.api.assembly import opened
from deployments.api.server import build_http
from deployments.cache.client import CacheClient
from deployments.cache.lookup import CacheLookup
from deployments.cache.store import MemoryStore
from deployments.config import Addresses, CacheSettings, Current, HistorySettings, ScriptedModel, Settings
from deployments.models.delivery.listener import Listener
from deployments.models.in_process import InProcessModels
from tests import asgi_server
from tests.databases import own_database


@dataclass(frozen=True)
class Served:
    """A running service: its address, and a key that is valid."""

    url: str
    key: str

    def client(self) -> httpx.AsyncClient:
        """Return an HTTP client with the key."""
        return httpx.AsyncClient(base_url=self.url, headers={"authorization": f"Bearer {self.key}"}, timeout=30)


@asynccontextmanager
async def served(
    database_url: str,
    redis_url: str,
    *models: ScriptedModel,
    history: HistorySettings | None = None,
    cache: CacheClient | None = None,
    around: Callable[[ASGIApp], ASGIApp] = lambda app: app,
    listener: Listener | None = None,
    **more: Any,
) -> AsyncGenerator[Served]:
    """Serve `models` on a free port of this machine; the cache is in memory unless one is given.

    `around` puts something around the application; `listener` is where other ingress replicas reach this one, `more`
    are further settings.
    """
    settings = Settings(models=models, history=history or HistorySettings(), **more)
    addresses = Addresses(database_url=SecretStr(database_url), redis_url=SecretStr(redis_url))
    cache = cache or CacheClient(CacheLookup(CacheSettings(), MemoryStore()), CacheSettings())
    in_process = InProcessModels(*models)
    in_process.listener = listener
    app = build_http(lambda: opened(Current(settings), addresses, in_process, cache), Current(settings))
    async with asgi_server.served(around(app)) as url:
        _, secret = await app.state.services.stores.keys.create(f"test {secrets.token_hex(4)}")
        yield Served(url, secret)


@contextmanager
def served_aside(postgres_url: str, redis_url: str, *models: ScriptedModel) -> Generator[Served]:
    """Serve in another thread, on a database of its own, for callers that block theirs."""
    loop, stop = asyncio.new_event_loop(), asyncio.Event()
    started: Future[Served] = Future()

    async def serve() -> None:
        async with own_database(postgres_url) as url, served(url, redis_url, *models) as service:
            started.set_result(service)
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        yield started.result(30)
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()
