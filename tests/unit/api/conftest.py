"""The whole HTTP application in this process: scripted models and in-memory stores behind a real server."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from starlette.types import ASGIApp

from deployments.api.assembly import Closing, assembled
from deployments.api.server import build_http
from deployments.api.services import Services
from deployments.api.stores import Stores
from deployments.batches.memory import MemoryBatches
from deployments.cache.client import CacheClient
from deployments.cache.lookup import CacheLookup
from deployments.cache.store import MemoryStore
from deployments.config import (
    Current,
    Limits,
    ProviderModel,
    ScriptedModel,
    Settings,
    Timeouts,
    UsageSettings,
)
from deployments.files.memory import MemoryFiles
from deployments.history.memory import MemoryHistory
from deployments.history.shares.memory import MemoryShares
from deployments.history.stored.memory import MemoryCompletions
from deployments.history.writer import HistoryWriter
from deployments.keys.memory import MemoryKeys
from deployments.limits.limiter import Limiter
from deployments.limits.memory import MemoryLimits
from deployments.lora.memory import MemoryAdapters
from deployments.metrics.memory import MemoryFigures
from deployments.metrics.sharing import Metrics
from deployments.models.delivery.listener import Listener
from deployments.models.in_process import InProcessModels
from deployments.models.loading.starts import MemoryStarts
from deployments.models.names import ModelNames
from deployments.queueing.shares import MemoryCapacity
from deployments.responses.memory import MemoryResponses
from deployments.streams.memory import MemoryStreams
from deployments.streams.store import StreamStore
from deployments.usage.memory import MemoryUsage
from deployments.usage.writer import UsageWriter
from deployments.users.memory import MemoryUsers
from tests.asgi_server import served


@dataclass
class Service:
    """A running service, its client with a valid key, and the parts behind it."""

    url: str
    http: httpx.AsyncClient
    models: InProcessModels
    history: MemoryHistory
    keys: MemoryKeys
    writer: HistoryWriter
    completions: MemoryCompletions
    limiter: Limiter
    usage: UsageWriter
    cache: CacheClient
    lookup: CacheLookup
    metrics: Metrics
    secret: str
    files: MemoryFiles
    batches: MemoryBatches
    users: MemoryUsers
    extra: dict[str, str] = field(default_factory=dict[str, str])


@asynccontextmanager
async def running(
    *models: ScriptedModel | ProviderModel,
    limits: Limits | None = None,
    timeouts: Timeouts | None = None,
    store: MemoryStore | None = None,
    stream_store: StreamStore | None = None,
    listener: Listener | None = None,
    beside: Service | None = None,
    around: Callable[[ASGIApp], ASGIApp] = lambda app: app,
    **more: Any,
) -> AsyncGenerator[Service]:
    """Serve `models` on a free port of this machine; `store` keeps their answers, `more` are further settings.

    `around` puts something around the application; `listener` is where other replicas of the service reach this one,
    `beside` is one of them: both have the same keys, conversations and limits.
    """
    more.setdefault("usage", UsageSettings(flush_s=0.05))
    settings = Settings(models=models, limits=limits or Limits(), timeouts=timeouts or Timeouts(), **more)
    current = Current(settings)
    in_process = InProcessModels(*models, names=ModelNames.of(settings))
    in_process.listener = listener
    history, keys = (beside.history, beside.keys) if beside else (MemoryHistory(), MemoryKeys())
    completions, files = MemoryCompletions(), beside.files if beside else MemoryFiles()
    users = beside.users if beside else MemoryUsers(keys)
    batches = beside.batches if beside else MemoryBatches(files)
    stores = Stores(
        history=history,
        completions=completions,
        shares=MemoryShares(history, keys),
        keys=keys,
        usage=MemoryUsage(),
        responses=MemoryResponses(history),
        adapters=MemoryAdapters(),
        limits=MemoryLimits(30),
        figures=MemoryFigures(),
        starts=MemoryStarts(),
        users=users,
        streams=stream_store or MemoryStreams(),
        files=files,
        capacity=MemoryCapacity(time.monotonic),
        batches=batches,
    )
    lookup = CacheLookup(settings.cache, store or MemoryStore())
    policies = {in_process.identity(model.id): model.cache for model in models}
    cache = CacheClient(lookup, settings.cache, policies)
    started: asyncio.Future[Services] = asyncio.get_running_loop().create_future()

    @asynccontextmanager
    async def opened() -> AsyncGenerator[Services]:
        closing = Closing(history_s=5, usage_s=1, background_s=0.1)
        async with assembled(current, stores, in_process, cache, closing) as services:
            started.set_result(services)
            yield services

    secret = beside.secret if beside else (await keys.create("test"))[1]
    headers = {"authorization": f"Bearer {secret}"}
    async with (
        served(around(build_http(opened, current))) as url,
        httpx.AsyncClient(base_url=url, headers=headers, timeout=60) as http,
    ):
        services = await started
        yield Service(
            url,
            http,
            in_process,
            history,
            keys,
            services.writer,
            completions,
            services.limiter,
            services.usage_writer,
            cache,
            lookup,
            services.metrics,
            secret,
            files,
            batches,
            users,
        )


@pytest.fixture
async def service() -> AsyncGenerator[Service]:
    """A service with a quick model `quick` and one that takes 20 ms a token, `slow`."""
    quick = ScriptedModel(id="quick", kind="scripted", tokens=8, context_tokens=200)
    slow = ScriptedModel(id="slow", kind="scripted", tokens=500, token_ms=20)
    async with running(quick, slow) as service:
        yield service
