"""The services behind the routes, and what they read from every request: its caller and its cache directives."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from fastapi import Request

from deployments.api.metering import count
from deployments.api.stores import Stores
from deployments.batches.runner import BatchRunner
from deployments.cache.client import CacheClient, NoCache
from deployments.cache.steering import CacheControl, parsed
from deployments.chat.coalescing import Coalescer
from deployments.chat.ports import Models
from deployments.chat.service import ChatService
from deployments.config import Current, Settings
from deployments.errors import BadRequest, ChatLLMError, Unauthenticated
from deployments.history.storage import StorageLimit
from deployments.history.writer import HistoryWriter
from deployments.keys.authenticator import Authenticator, Caller
from deployments.limits.limiter import Limiter
from deployments.lora.registry import AdaptedModels, AdapterRegistry
from deployments.metrics.queues import Queues
from deployments.metrics.sharing import Metrics
from deployments.metrics.telemetry import Telemetry
from deployments.models.availability import ModelState
from deployments.models.delivery.listener import Listener
from deployments.models.loading.estimate import Start
from deployments.models.loading.starts import StartStore
from deployments.models.names import ModelNames
from deployments.models.protocol import Traits
from deployments.models.scaling.decisions import Decision
from deployments.queueing.shares import CapacityStore
from deployments.responses.background import BackgroundResponses
from deployments.responses.service import Responses
from deployments.streams.service import ResumableStreams
from deployments.usage.writer import UsageWriter
from deployments.users.sign_in import SignIn

WAIT_HEADER = "x-chatllm-wait"
WAIT = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")
KEY_HEADERS = ("api-key", "x-api-key")
KNOWN_CALLER = "chatllm.caller"
"""In the ASGI scope of a request that this service makes itself: whose it is. No client can set it."""


class ServedModels(Models, AdaptedModels, Protocol):
    """What can generate, and whether it can do so now."""

    @property
    def names(self) -> ModelNames:
        """The models' ids and their aliases."""
        ...

    @property
    def listener(self) -> Listener | None:
        """Where answers of other processes arrive, open like the models; None if there are none."""
        ...

    async def open(self) -> None:
        """Get ready to generate."""
        ...

    async def learn_starts(self, store: StartStore) -> None:
        """Estimate how long models take to start from `store`, and record starts there."""
        ...

    async def share_capacity(self, store: CapacityStore) -> None:
        """Fill only this process's share of the models' engines, as `store` has it for all ingress replicas."""
        ...

    async def aclose(self) -> None:
        """Fail the answers that are under way, and release all resources."""
        ...

    async def states(self) -> list[ModelState]:
        """Return the state of every model, the default one first."""
        ...

    def queues(self) -> Queues:
        """Return what waits in this process's queues in front of the models' engines."""
        ...

    async def decisions(self) -> Sequence[tuple[str, Decision]]:
        """Return the last decisions of the autoscaler with the models that they are about, the newest first."""
        ...

    def starts(self) -> Sequence[tuple[str, Start]]:
        """Return the last starts of the models with their ids, the newest first."""
        ...

    async def traits(self, model: str) -> Traits:
        """Return what the model takes and makes."""
        ...

    async def running(self, model: str) -> int:
        """Return how many requests the model's engines hold now."""
        ...

    async def waiting(self, model: str) -> int:
        """Return how many of these have no token yet."""
        ...


@dataclass(frozen=True, slots=True)
class Services:
    """The adapters that one ingress replica works with."""

    current: Current[Settings]
    stores: Stores
    authenticator: Authenticator
    sign_in: SignIn
    limiter: Limiter
    writer: HistoryWriter
    usage_writer: UsageWriter
    models: ServedModels
    chat: ChatService
    responses: Responses
    background: BackgroundResponses
    streams: ResumableStreams
    batches: BatchRunner
    adapters: AdapterRegistry
    telemetry: Telemetry
    metrics: Metrics
    storage: StorageLimit
    coalescer: Coalescer
    cache: CacheClient | NoCache = field(default_factory=NoCache)
    problems: Callable[[], Sequence[str]] = tuple
    """Tells what is wrong with the configuration, for administrators."""

    @property
    def settings(self) -> Settings:
        """The settings that hold now."""
        return self.current.value


def services_of(request: Request) -> Services:
    """Return the services of the app that `request` came to."""
    return request.app.state.services


def cache_control_of(request: Request) -> CacheControl:
    """Return what the request asks of the cache."""
    return parsed(",".join(request.headers.getlist("cache-control")))


def wait_of(request: Request) -> float | None:
    """Return how long the request may be held at most, None for no limit of its own; BadRequest for a non-number.

    A client says so in `x-chatllm-wait`, in seconds; 0 is not at all.
    """
    given = request.headers.get(WAIT_HEADER)
    if given is None:
        return None
    if not WAIT.fullmatch(given.strip()):
        raise BadRequest(f"'{WAIT_HEADER}' must be a number of seconds, 0 or more.", WAIT_HEADER)
    return float(given)


async def caller_of(request: Request) -> Caller:
    """Return who asks; raises Unauthenticated without a valid key, TooManyRequests past its requests per minute."""
    services = services_of(request)
    caller: Caller | None = request.scope.get(KNOWN_CALLER)
    if caller is None:
        secret = key_of(request)
        if not secret:
            raise Unauthenticated
        caller = await services.authenticator.authenticate(secret)
    request.state.timing.mark("auth")
    await count(request, services.limiter, caller)
    return caller


def key_of(request: Request) -> str:
    """Return the key that a request carries, the first of `Authorization: Bearer`, `api-key` and `x-api-key`.

    Clients of Azure and Anthropic send the last two. If there are several, the others are not looked at,
    so that what a wrong key is answered does not depend on them; another scheme of `Authorization`,
    which may be a proxy's, is passed over.
    """
    scheme, _, secret = request.headers.get("authorization", "").partition(" ")
    keys = secret if scheme.lower() == "bearer" else "", *(request.headers.get(name, "") for name in KEY_HEADERS)
    return next((key.strip() for key in keys if key.strip()), "")


async def is_admin(request: Request) -> bool:
    """Whether a request that needs no key has an administrator's; while that cannot be checked, it has none."""
    secret = key_of(request)
    if not secret:
        return False
    try:
        return (await services_of(request).authenticator.authenticate(secret)).is_admin
    except ChatLLMError:
        return False


async def ensure_storage(request: Request, caller: Caller) -> None:
    """Raise StorageFull if the caller's key may not store what the request, whose body has been read, brings."""
    limit = caller.limits.storage_bytes
    if limit is not None:
        await services_of(request).storage.ensure_room(caller.tenant, limit, request.state.body_bytes)
