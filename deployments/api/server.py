"""The HTTP application, and the Serve deployment that runs it. Imports neither torch nor vllm."""

import functools
import os
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from ray.serve.handle import DeploymentHandle
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.routing import Match, Route

from deployments.api.admin import adapters, keys, metrics
from deployments.api.admin import cache as cache_admin
from deployments.api.assembly import opened
from deployments.api.http.connection import ClientGone
from deployments.api.http.cors import options
from deployments.api.http.lenient import LenientRouting, speak_plainly_to_http10
from deployments.api.http.middleware import ConcurrencyLimit, Lingering, RequestId
from deployments.api.http.replies import error_response, translated
from deployments.api.http.shortcut import Shortcut, answer_nobody
from deployments.api.metering import LimitHeaders
from deployments.api.routes import (
    chat,
    completions,
    conversations,
    docs,
    embeddings,
    health,
    me,
    messages,
    models,
    pooling,
    ranking,
    responses,
    search,
    shares,
    speech,
    stored_completions,
    tokens,
    usage,
)
from deployments.api.schemas.openapi import described
from deployments.api.services import Services
from deployments.cache.client import CacheClient, NoCache
from deployments.cache.lookup_client import ConnectedCache
from deployments.config import Addresses, CorsSettings, Limits, ModelCacheSettings, Settings
from deployments.errors import BadRequest, ChatLLMError, MethodNotAllowed, NotFound
from deployments.infra.haproxy import warn_unless_mended
from deployments.infra.heap import freeze_heap
from deployments.infra.logs import configure_logging
from deployments.models.client import ModelClient, ServedModel
from deployments.models.names import ModelNames

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
)
"""Modules that each define one `router`. The first route that matches answers: `search` precedes `conversations`."""


def build_http(
    open_services: OpenServices,
    limits: Limits,
    request_id_is_echoed: bool = False,
    cors: CorsSettings = CorsSettings(),  # noqa: B008 - it is frozen
) -> FastAPI:
    """Return the application; `open_services` is entered when it starts."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        async with open_services() as services:
            app.state.services = services
            yield

    app = FastAPI(title="ChatLLM", version="1", lifespan=lifespan, openapi_url=None, redirect_slashes=False)
    for routes in ROUTES:
        # The routes themselves: include_router() builds each of them again, which takes 0.1 s.
        app.router.routes.extend(routes.router.routes)
    app.openapi = functools.cache(lambda: described(app))
    app.add_middleware(Shortcut, method="POST", path=chat.PATH, endpoint=chat.create_chat_completion)
    app.add_middleware(LimitHeaders)
    app.add_middleware(ConcurrencyLimit, limit=limits.max_concurrent_requests)
    app.add_middleware(RequestId, is_echoed=request_id_is_echoed)
    app.add_middleware(Lingering)
    app.add_middleware(LenientRouting)
    if cors.allow_origins:
        app.add_middleware(CORSMiddleware, **options(cors))
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
        self._settings = settings
        self._cache = cache
        of = {model.id: model for model in settings.models}
        names = {**{name: name for name in of}, **settings.adapters}
        self._models = {name: ServedModel(of[base], identities[name], models[base]) for name, base in names.items()}

    def __serve_build_asgi_app__(self) -> FastAPI:
        """Return the application (called by Serve in the replica's event loop)."""
        settings = self._settings
        configure_logging(settings.log_level)
        warn_unless_mended(os.environ)
        speak_plainly_to_http10()
        client = ModelClient(self._models, ModelNames.of(settings), settings.timeouts, settings.encrypt_replica_traffic)
        policies = {model.identity: model.settings.cache for model in self._models.values()}
        cache = self._connected(policies) if self._cache else NoCache()

        def open_services() -> AbstractAsyncContextManager[Services]:
            return opened(settings, Addresses.from_environment(), client, cache)

        app = build_http(open_services, settings.limits, True, settings.cors)
        freeze_heap()
        return app

    def _connected(self, policies: Mapping[str, ModelCacheSettings]) -> CacheClient:
        remote = ConnectedCache(self._cache)
        remote.connect()
        return CacheClient(remote, self._settings.cache, policies)
