"""Building the services of an ingress replica: opened when it starts, closed in reverse when it ends.

`opened` uses Postgres and Redis. Tests call `assembled` with stores in memory, so that they run what runs in
production.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeVar

from deployments.api.batching import batch_runner, default_limits
from deployments.api.metering import count_sign_in
from deployments.api.observing import RunObserver
from deployments.api.resuming import Repetition
from deployments.api.services import ServedModels, Services
from deployments.api.stores import Stores, durable
from deployments.cache.client import CacheClient, NoCache
from deployments.chat.coalescing import Coalescer
from deployments.chat.peers import Peers
from deployments.chat.service import ChatService
from deployments.config import Addresses, Current, Settings
from deployments.files.store import UNFINISHED_S
from deployments.history.storage import StorageLimit
from deployments.history.stored.turn import KeptConversations
from deployments.history.turns import StoredConversations
from deployments.history.writer import HistoryWriter
from deployments.infra.postgres.database import Database
from deployments.infra.sweeping import Sweeper
from deployments.keys.authenticator import Authenticator
from deployments.limits.background import BackgroundPlaces
from deployments.limits.limiter import Limiter
from deployments.lora.registry import AdapterRegistry
from deployments.metrics.recorder import Recorder
from deployments.metrics.sampling import sampled
from deployments.metrics.sharing import Metrics
from deployments.metrics.stores import watched
from deployments.metrics.telemetry import Telemetry
from deployments.responses.background import BackgroundResponses
from deployments.responses.service import Responses
from deployments.streams.service import ResumableStreams
from deployments.usage.writer import UsageWriter
from deployments.users.credentials import Credentials
from deployments.users.passwords import Passwords
from deployments.users.sign_in import SignIn


class _Opening(Protocol):
    async def open(self) -> None: ...


class _Part(_Opening, Protocol):
    """What works from `open` until `aclose`."""

    async def aclose(self) -> None: ...


Opened = TypeVar("Opened", bound=_Part)


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
        stores = durable(database, settings, addresses)
        async with (
            assembled(current, stores, models, cache, problems=problems) as services,
            watched(database.ping, services.metrics, services.telemetry),
        ):
            yield services
    finally:
        await database.close()


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
        await _drained(stack, writer, partial(writer.drain, closing.history_s))
        stack.push_async_callback(cache.aclose)
        await _opened(stack, models)
        await models.learn_starts(stores.starts)
        await models.share_capacity(stores.capacity)
        usage_writer = UsageWriter(stores.usage, settings.usage)
        await _drained(stack, usage_writer, partial(usage_writer.drain, closing.usage_s))
        limiter, authenticator = await _admission(stack, current, stores)
        metrics = await _opened(stack, Metrics(Recorder(), stores.figures))
        await stack.enter_async_context(sampled(metrics.recorder, partial(_replicas, models), models.queues))
        telemetry = _telemetry(stack, metrics, writer, cache)
        observer = RunObserver(telemetry, usage_writer)
        peers = Peers(models.listener) if models.listener else None
        coalescer = Coalescer(cache, peers)
        stack.push_async_callback(coalescer.aclose)
        chat = _chat(current, _conversations(stores, writer, settings), cache, models, coalescer)
        adapters = await _opened(stack, AdapterRegistry(stores.adapters, models, cache, settings.models))
        current.follow(lambda now: adapters.configure(now.models))
        responses = Responses(
            chat, models, stores.responses, stores.history, writer, settings.history.max_context_bytes
        )
        background = _background(current, stores, writer, limiter, responses, chat, observer)
        await _drained(stack, background, partial(background.aclose, closing.background_s))
        repetition = Repetition(chat, limiter, observer)
        streams = ResumableStreams(stores.streams, peers, lambda: current.value.streams, repetition)
        stack.push_async_callback(streams.aclose, closing.background_s)
        await _opened(stack, Sweeper("files", partial(stores.files.sweep, UNFINISHED_S)))
        await _opened(stack, Sweeper("sessions", stores.users.sweep))
        batches = batch_runner(current, stores.batches, stores.files, models, telemetry)
        yield Services(
            current,
            stores,
            authenticator,
            SignIn(stores.users, Passwords(), partial(count_sign_in, limiter)),
            limiter,
            writer,
            usage_writer,
            models,
            chat,
            responses,
            background,
            streams,
            batches,
            adapters,
            telemetry,
            metrics,
            StorageLimit(stores.stored_bytes),
            coalescer,
            cache,
            problems,
        )


async def _admission(
    stack: AsyncExitStack, current: Current[Settings], stores: Stores
) -> tuple[Limiter, Authenticator]:
    """Open what says who a caller is and how much it may do."""
    limiter = await _opened(stack, Limiter(stores.limits, stores.usage.tokens, current.value.key_limits))
    current.follow(lambda now: limiter.configure(now.key_limits))
    authenticator = Authenticator(Credentials(stores.keys, stores.users), current.value.keys)
    current.follow(lambda now: authenticator.configure(now.keys, default_limits(now)))
    stack.push_async_callback(authenticator.aclose)
    return limiter, authenticator


async def _opened(stack: AsyncExitStack, part: Opened) -> Opened:
    """Open a part, which is closed when the stack is."""
    await part.open()
    stack.push_async_callback(part.aclose)
    return part


def _replicas(models: ServedModels) -> dict[str, int]:
    return {name: models.replicas_of(name) for name in models.names.ids}


async def _drained(stack: AsyncExitStack, part: _Opening, drain: Callable[[], Awaitable[object]]) -> None:
    """Open a part that has work left to finish when the stack is closed: `drain` does so."""
    await part.open()
    stack.push_async_callback(drain)


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


def _telemetry(
    stack: AsyncExitStack, metrics: Metrics, writer: HistoryWriter, cache: CacheClient | NoCache
) -> Telemetry:
    telemetry = Telemetry(metrics.recorder)
    stack.callback(telemetry.flush)
    writer.tell = telemetry.pending_writes
    if isinstance(cache, CacheClient):
        cache.drops.tell = telemetry.cache_dropped
    return telemetry


def _conversations(stores: Stores, writer: HistoryWriter, settings: Settings) -> KeptConversations:
    conversations = StoredConversations(stores.history, writer, settings.history.max_context_bytes)
    return KeptConversations(conversations, stores.completions, writer)


def _chat(
    current: Current[Settings],
    conversations: KeptConversations,
    cache: CacheClient | NoCache,
    models: ServedModels,
    coalescer: Coalescer,
) -> ChatService:
    silence_s = current.value.timeouts.silence_s
    chat = ChatService(conversations, cache, models, coalescer=coalescer, silence_s=silence_s)
    current.follow(lambda now: chat.configure(now.cache.shared, now.cache.replay_ms, now.timeouts.silence_s))
    return chat
