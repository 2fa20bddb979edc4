"""Building the services of an ingress replica: opened when it starts, closed in reverse when it ends.

`opened` stands on Postgres and Redis. Tests call `assembled` with stores in memory, so that they run what runs in
production.
"""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeVar

from deployments.api.batching import batch_runner, default_limits
from deployments.api.observing import RunObserver
from deployments.api.resuming import Repetition
from deployments.api.services import ServedModels, Services
from deployments.batches.postgres import PostgresBatches
from deployments.batches.store import BatchStore
from deployments.cache.client import CacheClient, NoCache
from deployments.chat.coalescing import Coalescer
from deployments.chat.peers import Peers
from deployments.chat.service import ChatService
from deployments.config import Addresses, Current, Settings
from deployments.files.contents import Contents
from deployments.files.postgres import PostgresFiles
from deployments.files.store import FileStore
from deployments.files.sweeper import FileSweeper
from deployments.history.postgres import PostgresHistory
from deployments.history.shares.postgres import PostgresShares
from deployments.history.shares.store import ShareStore
from deployments.history.storage import StorageLimit
from deployments.history.store import HistoryStore
from deployments.history.stored.postgres import PostgresCompletions
from deployments.history.stored.store import CompletionStore
from deployments.history.stored.turn import KeptConversations
from deployments.history.turns import StoredConversations
from deployments.history.writer import HistoryWriter
from deployments.infra.postgres.database import Database
from deployments.keys.authenticator import Authenticator
from deployments.keys.postgres import PostgresKeys
from deployments.keys.store import KeyStore
from deployments.limits.background import BackgroundPlaces
from deployments.limits.limiter import Limiter
from deployments.limits.remote import RedisLimits
from deployments.limits.store import LimitStore
from deployments.lora.postgres import PostgresAdapters
from deployments.lora.registry import AdapterRegistry
from deployments.lora.store import AdapterStore
from deployments.metrics.recorder import Recorder
from deployments.metrics.remote import RedisFigures
from deployments.metrics.sampling import sampled
from deployments.metrics.sharing import Metrics
from deployments.metrics.store import FigureStore
from deployments.metrics.stores import watched
from deployments.metrics.telemetry import Telemetry
from deployments.models.loading.starts import PostgresStarts, StartStore
from deployments.queueing.remote import RedisCapacity
from deployments.queueing.shares import CapacityStore
from deployments.responses.background import BackgroundResponses
from deployments.responses.postgres import PostgresResponses
from deployments.responses.service import Responses
from deployments.responses.store import ResponseStore
from deployments.streams.remote import RedisStreams
from deployments.streams.service import ResumableStreams
from deployments.streams.store import StreamStore
from deployments.usage.postgres import PostgresUsage
from deployments.usage.store import UsageStore
from deployments.usage.writer import UsageWriter


class _Part(Protocol):
    """What works from `open` until `aclose`."""

    async def open(self) -> None: ...

    async def aclose(self) -> None: ...


Opened = TypeVar("Opened", bound=_Part)


@dataclass(frozen=True, slots=True)
class Stores:
    """What the services keep their state in; open, where a store needs that."""

    history: HistoryStore
    completions: CompletionStore
    shares: ShareStore
    keys: KeyStore
    usage: UsageStore
    responses: ResponseStore
    adapters: AdapterStore
    limits: LimitStore
    figures: FigureStore
    starts: StartStore
    streams: StreamStore
    files: FileStore
    capacity: CapacityStore
    batches: BatchStore

    async def stored_bytes(self, tenant: str) -> int:
        """Return how many bytes a tenant keeps, of all kinds."""
        return await self.history.stored_bytes(tenant) + (await self.files.used(tenant)).bytes


@dataclass(frozen=True, slots=True)
class Closing:
    """Seconds that each part may take to finish its work when the services close."""

    history_s: float = 10.0
    usage_s: float = 5.0
    background_s: float = 5.0


@asynccontextmanager
async def opened(
    current: Current[Settings],
    addresses: Addresses,
    models: ServedModels,
    cache: CacheClient | NoCache,
    problems: Callable[[], Sequence[str]] = tuple,
) -> AsyncGenerator[Services]:
    """Open the services on Postgres and Redis; on leaving, write what still waits (at most 15 s) and close them."""
    settings = current.value
    database = Database(addresses.database_url, settings.history)
    await database.open()
    try:
        stores = _durable(database, settings, addresses)
        async with (
            assembled(current, stores, models, cache, problems=problems) as services,
            watched(database.ping, services.metrics, services.telemetry),
        ):
            yield services
    finally:
        await database.close()


def _durable(database: Database, settings: Settings, addresses: Addresses) -> Stores:
    url, namespace = addresses.redis_url.get_secret_value(), settings.cache.namespace
    limits = settings.key_limits
    return Stores(
        history=PostgresHistory(database),
        completions=PostgresCompletions(database),
        shares=PostgresShares(database),
        keys=PostgresKeys(database),
        usage=PostgresUsage(database),
        responses=PostgresResponses(database),
        adapters=PostgresAdapters(database),
        limits=RedisLimits(url, namespace, limits.timeout_s, limits.lease_s),
        figures=RedisFigures(url, namespace),
        starts=PostgresStarts(database),
        streams=RedisStreams(url, namespace, limits.timeout_s),
        files=PostgresFiles(database, Contents.at(settings.files.url) if settings.files.url else None),
        capacity=RedisCapacity(url, namespace),
        batches=PostgresBatches(database),
    )


@asynccontextmanager
async def assembled(
    current: Current[Settings],
    stores: Stores,
    models: ServedModels,
    cache: CacheClient | NoCache,
    closing: Closing = Closing(),
    problems: Callable[[], Sequence[str]] = tuple,
) -> AsyncGenerator[Services]:
    """Build the services upon `stores`, and open them with the models and the cache; on leaving, close all of these.

    They go by the settings of the moment; those of stores, of responses and of usage hold for good.
    """
    settings = current.value
    async with AsyncExitStack() as stack:
        writer = HistoryWriter(stores.history, settings.history.max_pending_writes)
        await writer.open()
        stack.push_async_callback(writer.drain, closing.history_s)
        stack.push_async_callback(cache.aclose)
        await _opened(stack, models)
        await models.learn_starts(stores.starts)
        await models.share_capacity(stores.capacity)
        usage_writer = UsageWriter(stores.usage, settings.usage)
        await usage_writer.open()
        stack.push_async_callback(usage_writer.drain, closing.usage_s)
        limiter = await _opened(stack, Limiter(stores.limits, stores.usage.tokens, settings.key_limits))
        current.follow(lambda now: limiter.configure(now.key_limits))
        authenticator = Authenticator(stores.keys, settings.keys)
        current.follow(lambda now: authenticator.configure(now.keys, default_limits(now)))
        stack.push_async_callback(authenticator.aclose)
        metrics = await _opened(stack, Metrics(Recorder(), stores.figures))
        await stack.enter_async_context(sampled(metrics.recorder, partial(_replicas, models), models.queues))
        telemetry = _telemetry(metrics, writer, cache)
        stack.callback(telemetry.flush)
        peers = Peers(models.listener) if models.listener else None
        coalescer = Coalescer(cache, peers)
        stack.push_async_callback(coalescer.aclose)
        chat = _chat(settings, stores, writer, cache, models, coalescer)
        current.follow(lambda now: chat.configure(now.cache.shared, now.cache.replay_ms, now.timeouts.silence_s))
        adapters = await _opened(stack, AdapterRegistry(stores.adapters, models, cache, settings.models))
        current.follow(lambda now: adapters.configure(now.models))
        observer = RunObserver(telemetry, usage_writer)
        responses = Responses(
            chat, models, stores.responses, stores.history, writer, settings.history.max_context_bytes
        )
        background = _background(current, stores, writer, limiter, responses, chat, observer)
        await background.open()
        stack.push_async_callback(background.aclose, closing.background_s)
        repetition = Repetition(chat, limiter, observer)
        streams = ResumableStreams(stores.streams, peers, lambda: current.value.streams, repetition)
        stack.push_async_callback(streams.aclose, closing.background_s)
        await _opened(stack, FileSweeper(stores.files))
        yield Services(
            current,
            authenticator,
            stores.history,
            writer,
            models,
            chat,
            telemetry,
            metrics,
            completions=stores.completions,
            shares=stores.shares,
            keys=stores.keys,
            limiter=limiter,
            usage=stores.usage,
            usage_writer=usage_writer,
            responses=responses,
            background=background,
            response_store=stores.responses,
            storage=StorageLimit(stores.stored_bytes),
            adapters=adapters,
            streams=streams,
            files=stores.files,
            batch_store=stores.batches,
            batches=batch_runner(current, stores.batches, stores.files, models, telemetry),
            coalescer=coalescer,
            cache=cache,
            problems=problems,
        )


async def _opened(stack: AsyncExitStack, part: Opened) -> Opened:
    """Open a part, which is closed when the stack is."""
    await part.open()
    stack.push_async_callback(part.aclose)
    return part


def _replicas(models: ServedModels) -> dict[str, int]:
    return {name: models.replicas_of(name) for name in models.names.ids}


def _background(
    current: Current[Settings],
    stores: Stores,
    writer: HistoryWriter,
    limiter: Limiter,
    responses: Responses,
    chat: ChatService,
    observer: RunObserver,
) -> BackgroundResponses:
    settings = current.value.responses
    return BackgroundResponses(
        responses,
        chat,
        stores.responses,
        writer,
        settings,
        waiting_s=lambda: 2 * current.value.timeouts.total_s,
        observer=observer,
        resume=limiter.resume,
        places=BackgroundPlaces(limiter, settings.max_background_per_key),
    )


def _telemetry(metrics: Metrics, writer: HistoryWriter, cache: CacheClient | NoCache) -> Telemetry:
    telemetry = Telemetry(metrics.recorder)
    writer.tell = telemetry.pending_writes
    if isinstance(cache, CacheClient):
        cache.drops.tell = telemetry.cache_dropped
    return telemetry


def _chat(
    settings: Settings,
    stores: Stores,
    writer: HistoryWriter,
    cache: CacheClient | NoCache,
    models: ServedModels,
    coalescer: Coalescer,
) -> ChatService:
    conversations = StoredConversations(stores.history, writer, settings.history.max_context_bytes)
    kept = KeptConversations(conversations, stores.completions, writer)
    return ChatService(kept, cache, models, coalescer=coalescer, silence_s=settings.timeouts.silence_s)
