"""The whole HTTP application in this process on real stores: all but Ray and a real model."""

import asyncio
import secrets
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx
import uvicorn
from pydantic import SecretStr

from deployments.cache.client import CacheClient
from deployments.cache.lookup import CacheLookup
from deployments.cache.store import MemoryStore
from deployments.config import Addresses, CacheSettings, HistorySettings, ScriptedModel, Settings
from deployments.ingress.server import build_http
from deployments.ingress.services import opened
from deployments.models.in_process import InProcessModels


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
    database_url: str, redis_url: str, *models: ScriptedModel, history: HistorySettings | None = None
) -> AsyncGenerator[Served]:
    """Serve `models` on a free port of this machine."""
    settings = Settings(models=models, history=history or HistorySettings())
    addresses = Addresses(database_url=SecretStr(database_url), redis_url=SecretStr(redis_url))
    cache = CacheClient(CacheLookup(CacheSettings(), MemoryStore()), CacheSettings())
    app = build_http(lambda: opened(settings, addresses, InProcessModels(*models), cache), settings.limits)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="warning"))
    serving = asyncio.create_task(server.serve())
    while not server.started:
        assert not serving.done()
        await asyncio.sleep(0.01)
    _, secret = await app.state.services.keys.create(f"test {secrets.token_hex(4)}")
    yield Served(f"http://127.0.0.1:{port}", secret)
    server.should_exit = True
    await serving
