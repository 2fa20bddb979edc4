"""What the services keep their state in: `durable` on Postgres and Redis; tests have theirs in memory."""

from dataclasses import dataclass

from deployments.batches.postgres import PostgresBatches
from deployments.batches.store import BatchStore
from deployments.config import Addresses, Settings
from deployments.files.contents import Contents
from deployments.files.postgres import PostgresFiles
from deployments.files.store import FileStore
from deployments.history.postgres import PostgresHistory
from deployments.history.shares.postgres import PostgresShares
from deployments.history.shares.store import ShareStore
from deployments.history.store import HistoryStore
from deployments.history.stored.postgres import PostgresCompletions
from deployments.history.stored.store import CompletionStore
from deployments.infra.postgres.database import Database
from deployments.keys.postgres import PostgresKeys
from deployments.keys.store import KeyStore
from deployments.limits.remote import RedisLimits
from deployments.limits.store import LimitStore
from deployments.lora.postgres import PostgresAdapters
from deployments.lora.store import AdapterStore
from deployments.metrics.remote import RedisFigures
from deployments.metrics.store import FigureStore
from deployments.models.loading.starts import PostgresStarts, StartStore
from deployments.queueing.remote import RedisCapacity
from deployments.queueing.shares import CapacityStore
from deployments.responses.postgres import PostgresResponses
from deployments.responses.store import ResponseStore
from deployments.streams.remote import RedisStreams
from deployments.streams.store import StreamStore
from deployments.usage.postgres import PostgresUsage
from deployments.usage.store import UsageStore
from deployments.users.postgres import PostgresUsers
from deployments.users.store import UserStore


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
    users: UserStore
    files: FileStore
    capacity: CapacityStore
    batches: BatchStore

    async def stored_bytes(self, tenant: str) -> int:
        """Return how many bytes a tenant keeps, of all kinds."""
        return await self.history.stored_bytes(tenant) + (await self.files.used(tenant)).bytes


def durable(database: Database, settings: Settings, addresses: Addresses) -> Stores:
    """Return the stores on Postgres and Redis."""
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
        users=PostgresUsers(database),
        files=PostgresFiles(database, Contents.at(settings.files.url) if settings.files.url else None),
        capacity=RedisCapacity(url, namespace),
        batches=PostgresBatches(database),
    )
