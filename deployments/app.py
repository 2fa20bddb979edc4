"""The composition root: the only place that binds deployments together.

`serve_config.yaml` names `build_app` as its import path. Its `args:` arrive here
as `Settings`; what stands under its `deployments:` overrides the options below.

No `from __future__ import annotations` in this file: Serve reads the annotation
of `args` to build the typed settings.
"""

from ray import serve
from ray.serve import Application
from ray.serve.config import RequestRouterConfig

from deployments.api.server import Ingress
from deployments.cache.deployment import CacheReplica
from deployments.config import AnyModel, Settings
from deployments.models.deployment import deployment_class
from deployments.models.identity import identities
from deployments.models.router import ObservedRouter

NO_ACCESS_LOG = {"enable_access_log": False}
"""Each request has its line in the ingress's log; Serve would write three more, one of them at every hop."""
ROUTER = f"{ObservedRouter.__module__}.{ObservedRouter.__qualname__}"


def build_app(args: Settings) -> Application:
    """Bind ingress, cache and models as the settings say; raises ValueError where they name what is not there."""
    if args.cache.enabled and args.cache.langchain:
        from deployments.cache.similar.plugged import named  # LangChain is for those who use it

        named(args.cache.langchain)  # what cannot be imported fails here, and not in replicas alone
    models = {model.id: _model(model, args.log_level) for model in args.models}
    cache = _cache().bind(args.cache, args.log_level, args.encrypt_replica_traffic) if args.cache.enabled else None
    return _ingress().bind(args, identities(args.models), models, cache)


def _ingress() -> serve.Deployment:
    return serve.deployment(
        name="Ingress",
        max_ongoing_requests=5000,
        ray_actor_options={"num_cpus": 0.1},
        logging_config=NO_ACCESS_LOG,
    )(serve.ingress()(Ingress))


def _cache() -> serve.Deployment:
    return serve.deployment(
        name="CacheLookup",
        max_ongoing_requests=1000,
        ray_actor_options={"num_cpus": 0.1},
        logging_config=NO_ACCESS_LOG,
    )(CacheReplica)


def _model(model: AnyModel, log_level: str) -> Application:
    return serve.deployment(
        name=model.deployment,
        max_ongoing_requests=256,
        max_queued_requests=1024,
        ray_actor_options={"num_cpus": 0.5},
        logging_config=NO_ACCESS_LOG,
        request_router_config=RequestRouterConfig(
            request_router_class=ROUTER,  # pyright: ignore[reportArgumentType] - Ray types it wrongly
            request_routing_stats_period_s=5,  # pyright: ignore[reportArgumentType] - the same
        ),
        health_check_period_s=5,
        health_check_timeout_s=30,
        graceful_shutdown_timeout_s=30,
    )(deployment_class(model)).bind(model, log_level)
