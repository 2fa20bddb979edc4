"""The HTTP application, and the Serve deployment that runs it. Imports neither torch nor vllm."""

import asyncio
import functools
import json
import logging
import os
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from ray.serve.handle import DeploymentHandle
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match, Route

from deployments.api import leaving
from deployments.api.admin import adapters, keys, metrics, users
from deployments.api.admin import batches as batches_admin
from deployments.api.admin import cache as cache_admin
from deployments.api.assembly import opened
from deployments.api.batching import batches_answered
from deployments.api.configuration import IngressConfiguration
from deployments.api.http.connection import ClientGone
from deployments.api.http.cors import CrossOrigin
from deployments.api.http.cycle import install_cycle
from deployments.api.http.intake import Intake, IntakeControl
from deployments.api.http.lenient import LenientRouting
from deployments.api.http.middleware import ConcurrencyLimit, Lingering, RequestId
from deployments.api.http.replies import error_response, translated
from deployments.api.http.shortcut import Shortcut, answer_nobody
from deployments.api.http.traced import Traced
from deployments.api.metering import GENERATING, LimitHeaders
from deployments.api.routes import (
    batches,
    chat,
    completions,
    conversations,
    docs,
    embeddings,
    files,
    health,
    me,
    messages,
    models,
    pooling,
    ranking,
    responses,
    search,
    sessions,
    shares,
    speech,
    stored_completions,
    streams,
    tokens,
    usage,
)
from deployments.api.schemas.openapi import described
from deployments.api.services import Services
from deployments.cache.client import CacheClient, NoCache
from deployments.cache.lookup_client import ConnectedCache
from deployments.config import Addresses, Current, Settings
from deployments.errors import BadRequest, ChatLLMError, MethodNotAllowed, NotFound
from deployments.infra import tracing
from deployments.infra.detached import detached
from deployments.infra.haproxy import warn_unless_mended
from deployments.infra.heap import freeze_heap
from deployments.infra.liveness.guarded import Guarded
from deployments.infra.logs import configure_logging
from deployments.infra.ray import key_value
from deployments.infra.ray.applications import ServeConfiguration
from deployments.infra.ray.stopping import when_stopping
from deployments.models.client import ModelClient
from deployments.models.directory import DeployedModel, ModelDirectory
from deployments.models.names import ModelNames
from deployments.models.scaling.process_load import ProcessLoad

USER_CONFIG = "ingress_user_config"
"""Where the last valid one is kept."""

OpenServices = Callable[[], AbstractAsyncContextManager[Services]]

ROUTES = (
    chat,
    search,
    responses,
    models,
    conversations,
    health,
    docs,
    stored_completions,
    keys,
    usage,
    completions,
    embeddings,
    tokens,
    messages,
    cache_admin,
    metrics,
    me,
    shares,
    ranking,
    pooling,
    speech,
    adapters,
    streams,
    files,
    batches,
    batches_admin,
    sessions,
    users,
)
"""Modules that each define one `router`. The first route that matches answers: `search` precedes `conversations`."""


def build_http(
    open_services: OpenServices,
    settings: Current[Settings],
    request_id_is_echoed: bool = False,
    intake: Intake | None = None,
) -> FastAPI:
    """Return the application; `open_services` is entered when it starts, `intake` lets requests in."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        async with open_services() as services:
            app.state.services = services
            async with batches_answered(app, services):
                yield

    app = FastAPI(title="ChatLLM", version="1", lifespan=lifespan, openapi_url=None, redirect_slashes=False)
    for routes in ROUTES:
        # The routes themselves: include_router() builds each of them again, which takes 0.1 s.
        app.router.routes.extend(routes.router.routes)
    app.openapi = functools.cache(lambda: described(app))
    app.add_middleware(Shortcut, method="POST", path=chat.PATH, endpoint=chat.create_chat_completion)
    app.add_middleware(LimitHeaders)
    app.add_middleware(ConcurrencyLimit, limit=lambda: settings.value.limits.max_concurrent_requests)
    app.add_middleware(IntakeControl, intake=intake or Intake())
    if tracing.is_on():
        app.add_middleware(Traced, past_routing=(chat.PATH,))
    app.add_middleware(RequestId, is_echoed=request_id_is_echoed)
    app.add_middleware(Lingering)
    app.add_middleware(LenientRouting)
    app.add_middleware(CrossOrigin, settings=lambda: settings.value.cors)
    app.add_exception_handler(ChatLLMError, _answer_error)
    app.add_exception_handler(RequestValidationError, _answer_invalid)
    app.add_exception_handler(HTTPException, _answer_http)
    app.add_exception_handler(ClientGone, _answer_nobody)
    return app


async def _answer_error(request: Request, error: Exception) -> Response:
    return error_response(translated(error), request.state.request_id, request.scope)


async def _answer_invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    field = str(first["loc"][-1])
    ours = BadRequest(f"Invalid value for '{field}': {first['msg']}.", field)
    return error_response(ours, request.state.request_id, request.scope)


async def _answer_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        ours: ChatLLMError = MethodNotAllowed(f"{request.method} is not supported at {request.url.path}.")
        answer = error_response(ours, request.state.request_id, request.scope)
        answer.headers["allow"] = ", ".join(_methods_at(request))
        return answer
    if error.status_code == 404:
        ours = NotFound(f"There is nothing at {request.method} {request.url.path}.")
    else:
        ours = BadRequest(str(error.detail)) if error.status_code < 500 else ChatLLMError()
    return error_response(ours, request.state.request_id, request.scope)


def _methods_at(request: Request) -> list[str]:
    """Return what the path of a request supports; the router itself names the methods of one route alone."""
    routes = [r for r in request.app.routes if isinstance(r, Route) and r.matches(request.scope)[0] != Match.NONE]
    methods = {method for route in routes for method in route.methods or ()}
    return sorted(methods | ({"HEAD"} if "GET" in methods else set()))


async def _answer_nobody(_request: Request, _error: Exception) -> Response:
    return answer_nobody()


class Ingress:
    """The deployment in front: it authenticates, composes the others and speaks HTTP."""

    def __init__(
        self,
        settings: Settings,
        identities: Mapping[str, str],
        models: Mapping[str, DeploymentHandle[Any]],
        cache: DeploymentHandle[Any] | None,
    ) -> None:
        """`models` are those within this application, with their identities; the others are found through Serve."""
        self._configuration = IngressConfiguration(settings, identities, models)
        self._current = Current(self._configuration.settings)
        self._cache_handle = cache
        self._was_configured = False
        self._process = ProcessLoad()
        self._services: Services | None = None
        self._intake = Intake()

    def __serve_build_asgi_app__(self) -> FastAPI:
        """Return the application (called by Serve in the replica's event loop)."""
        settings = self._current.value
        configure_logging(settings.log_level)
        warn_unless_mended(os.environ)
        install_cycle(GENERATING)
        self._client = ModelClient({}, ModelNames((), ""), settings.timeouts, settings.encrypt_replica_traffic)
        self._cache = self._connected(self._cache_handle) if self._cache_handle else NoCache()
        self._apply()
        app = build_http(self._open_services, self._current, True, self._intake)
        when_stopping(lambda timeout_s: leaving.retire(self._services, self._intake, timeout_s))
        freeze_heap()
        return app

    async def reconfigure(self, user_config: object, rank: object = None) -> None:
        """Take what may change in place; what is wrong with it is a problem that is told, and changes nothing.

        Serve calls it at every change and when the replica starts; without the argument `rank` it would not where
        the service file has no `user_config` any more. Serve gives the replica no request meanwhile.
        """
        if self._configuration.change(user_config):
            self._remembering = detached(asyncio.to_thread(_remember, user_config), "user-config")
        elif not self._was_configured:
            self._configuration.restore(await asyncio.to_thread(_remembered))
        self._was_configured = True
        self._apply()

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """Tell Serve's autoscaler how busy this replica is (a method that Serve knows by its name)."""
        running = self._services.telemetry.running if self._services is not None else 0
        return self._process.load(running, self._current.value.limits.max_concurrent_requests).reported()

    async def drain(self) -> int:
        """Refuse new requests, since the whole service stops, and return how many are still under way."""
        return await leaving.close(self._services, self._intake)

    async def leave(self) -> None:
        """End what clients still wait for, and write what is kept; nothing runs here afterwards."""
        await leaving.leave(self._services, self._intake)

    def _find(self, models: Sequence[DeployedModel]) -> None:
        self._configuration.find(models)
        self._apply()

    def _apply(self) -> None:
        """Let all parts go by the settings and the models that hold now; takes no longer than a moment."""
        settings, served = self._configuration.settings, self._configuration.served
        logging.getLogger("deployments").setLevel(settings.log_level)
        self._client.configure(served, ModelNames.of(settings), settings.timeouts)
        policies = {model.identity: model.settings.cache for model in served.values() if model.identity}
        self._cache.configure(settings.cache, policies)
        self._current.replace(settings)

    @asynccontextmanager
    async def _open_services(self) -> AsyncGenerator[Services]:
        addresses, problems = Addresses.from_environment(), lambda: self._configuration.problems
        directory = ModelDirectory(ServeConfiguration(), self._find)
        async with opened(self._current, addresses, self._client, self._cache, problems) as services:
            await directory.open()
            self._services, guard = services, Guarded()
            try:
                yield services
            finally:
                guard.close()
                await directory.aclose()

    def _connected(self, handle: DeploymentHandle[Any]) -> CacheClient:
        remote = ConnectedCache(handle)
        remote.connect()
        return CacheClient(remote, self._current.value.cache)


def _remember(user_config: object) -> None:
    """Keep what was valid for replicas that start while something else is not."""
    with suppress(Exception):
        key_value.put(USER_CONFIG, json.dumps(user_config).encode())


def _remembered() -> object:
    with suppress(Exception):
        return json.loads(key_value.get(USER_CONFIG) or b"null")
    return None
