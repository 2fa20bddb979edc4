"""The whole HTTP application in this process: scripted models and in-memory stores behind a real server."""

import asyncio
import socket
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
import uvicorn
from starlette.types import ASGIApp

from deployments.api.observing import RunObserver
from deployments.api.server import build_http
from deployments.api.services import Services
from deployments.cache.client import CacheClient
from deployments.cache.lookup import CacheLookup
from deployments.cache.store import MemoryStore
from deployments.chat.service import ChatService
from deployments.config import (
    KeySettings,
    Limits,
    ProviderModel,
    ScriptedModel,
    Settings,
    Timeouts,
    UsageSettings,
)
from deployments.history.memory import MemoryHistory
from deployments.history.shares.memory import MemoryShares
from deployments.history.storage import StorageLimit
from deployments.history.stored.memory import MemoryCompletions
from deployments.history.stored.turn import KeptConversations
from deployments.history.turns import StoredConversations
from deployments.history.writer import HistoryWriter
from deployments.keys.authenticator import Authenticator
from deployments.keys.memory import MemoryKeys
from deployments.keys.types import KeyLimits
from deployments.limits.limiter import Limiter
from deployments.limits.memory import MemoryLimits
from deployments.lora.memory import MemoryAdapters
from deployments.lora.registry import AdapterRegistry
from deployments.metrics.memory import MemoryFigures
from deployments.metrics.recorder import Recorder
from deployments.metrics.sharing import Metrics
from deployments.metrics.telemetry import Telemetry
from deployments.models.in_process import InProcessModels
from deployments.models.names import ModelNames
from deployments.responses.background import BackgroundResponses
from deployments.responses.memory import MemoryResponses
from deployments.responses.service import Responses
from deployments.usage.memory import MemoryUsage
from deployments.usage.writer import UsageWriter


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
    extra: dict[str, str] = field(default_factory=dict[str, str])


@asynccontextmanager
async def running(
    *models: ScriptedModel | ProviderModel,
    limits: Limits | None = None,
    timeouts: Timeouts | None = None,
    store: MemoryStore | None = None,
    around: Callable[[ASGIApp], ASGIApp] = lambda app: app,
    **more: Any,
) -> AsyncGenerator[Service]:
    """Serve `models` on a free port of this machine; `store` keeps their answers, `more` are further settings.

    `around` puts something around the application.
    """
    settings = Settings(models=models, limits=limits or Limits(), timeouts=timeouts or Timeouts(), **more)
    in_process = InProcessModels(*models, names=ModelNames.of(settings))
    history, keys = MemoryHistory(), MemoryKeys()
    writer = HistoryWriter(history, 1000)
    lookup = CacheLookup(settings.cache, store or MemoryStore())
    policies = {in_process.identity(model.id): model.cache for model in models}
    cache = CacheClient(lookup, settings.cache, policies)
    completions = MemoryCompletions()
    conversations = KeptConversations(
        StoredConversations(history, writer, settings.history.max_context_bytes), completions, writer
    )
    chat = ChatService(conversations, cache, in_process, settings.cache.shared, None, settings.cache.replay_ms)
    usage = MemoryUsage()
    usage_writer = UsageWriter(usage, UsageSettings(flush_s=0.05))
    limiter = Limiter(MemoryLimits(30), usage.tokens, settings.key_limits)
    metrics = Metrics(Recorder(), MemoryFigures())
    stored, telemetry = MemoryResponses(history), Telemetry(metrics.recorder)
    responses = Responses(chat, in_process, stored, history, writer, settings.history.max_context_bytes)
    observer = RunObserver(telemetry, usage_writer)
    adapters = AdapterRegistry(MemoryAdapters(), in_process, cache, models)
    runs = BackgroundResponses(
        responses, chat, stored, writer, settings.responses, 1800, observer, resume=limiter.resume
    )
    services = Services(
        settings,
        Authenticator(
            keys,
            KeySettings(),
            KeyLimits(
                concurrent_requests=settings.default_concurrent_requests,
                storage_bytes=settings.key_limits.storage_bytes,
            ),
        ),
        history,
        in_process,
        chat,
        telemetry,
        metrics,
        completions=completions,
        shares=MemoryShares(history, keys),
        keys=keys,
        limiter=limiter,
        usage=usage,
        usage_writer=usage_writer,
        responses=responses,
        background=runs,
        response_store=stored,
        storage=StorageLimit(history.stored_bytes),
        adapters=adapters,
        cache=cache,
    )

    @asynccontextmanager
    async def opened() -> AsyncGenerator[Services]:
        await writer.open()
        await in_process.open()
        await usage_writer.open()
        await limiter.open()
        await runs.open()
        await metrics.open()
        await adapters.open()
        yield services
        await adapters.aclose()
        await runs.aclose(0.1)
        await metrics.aclose()
        await limiter.aclose()
        await usage_writer.drain(1)
        await writer.drain(5)
        await cache.aclose()

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    app = around(build_http(opened, settings.limits, cors=settings.cors))
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="warning"))
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    _, secret = await keys.create("test")
    url = f"http://127.0.0.1:{port}"
    async with httpx.AsyncClient(base_url=url, headers={"authorization": f"Bearer {secret}"}, timeout=10) as http:
        parts = (in_process, history, keys, writer, completions, limiter, usage_writer, cache, lookup, metrics)
        yield Service(url, http, *parts)
    server.should_exit = True
    await serving


@pytest.fixture
async def service() -> AsyncGenerator[Service]:
    """A service with a quick model `quick` and one that takes 20 ms a token, `slow`."""
    quick = ScriptedModel(id="quick", kind="scripted", tokens=8, context_tokens=200)
    slow = ScriptedModel(id="slow", kind="scripted", tokens=500, token_ms=20)
    async with running(quick, slow) as service:
        yield service
