"""The batches of an ingress replica: what works on them, and the way of their lines to an answer."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from starlette.types import ASGIApp

from deployments.api.batch_door import BatchDoor
from deployments.api.services import ServedModels, Services
from deployments.batches.runner import BatchRunner
from deployments.batches.store import BatchStore
from deployments.config import Current, Settings
from deployments.errors import ModelNotFound
from deployments.files.store import FileStore
from deployments.keys.types import KeyLimits
from deployments.metrics.telemetry import Telemetry

CLOSE_S = 2.0
"""For lines under way when a replica closes; others answer them again."""


def batch_runner(
    current: Current[Settings], store: BatchStore, files: FileStore, models: ServedModels, telemetry: Telemetry
) -> BatchRunner:
    """Return what works on batches, by the settings of now; how many lines run at once may change."""

    def knows(model: str | None) -> bool:
        try:
            models.resolve(model)
        except ModelNotFound:
            return False
        return True

    settings = current.value
    return BatchRunner(
        store,
        files,
        settings.batches,
        settings.files.ttl_days,
        lambda: current.value.batch_lines_in_flight,
        knows,
        telemetry.batches,
    )


@asynccontextmanager
async def batches_answered(app: ASGIApp, services: Services) -> AsyncGenerator[None]:
    """Work on batches, whose lines are answered by `app`; on leaving, let what runs end for a while."""
    door = BatchDoor(app, services.stores.keys, lambda: default_limits(services.settings))
    await services.batches.open(door)
    try:
        yield
    finally:
        await services.batches.aclose(CLOSE_S)


def default_limits(settings: Settings) -> KeyLimits:
    """Return the limits of a key that has none of its own."""
    policy = settings.key_limits
    return KeyLimits(
        requests_per_minute=policy.requests_per_minute,
        tokens_per_minute=policy.tokens_per_minute,
        concurrent_requests=settings.default_concurrent_requests,
        storage_bytes=policy.storage_bytes,
        open_batches=settings.batches.max_open_per_key,
        batch_lines=settings.batches.max_lines,
        file_bytes=settings.files.max_bytes_per_key,
    )
