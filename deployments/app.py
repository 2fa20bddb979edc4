"""The composition root: the only place that binds deployments together.

Two functions are the import paths of a service file: `build_app` builds the application of ingress and cache,
`build_model` the application of one model. Their `args:` arrive here; what stands under `deployments:` overrides the
options below. Serve restarts an application whose `args:` change, and no other.

No `from __future__ import annotations` in this file: Serve reads the annotation of `args` to build the typed settings.
"""

from typing import Any

from ray import serve
from ray.serve import Application
from ray.serve.config import RequestRouterConfig

from deployments.api.server import Ingress
from deployments.cache.deployment import CacheReplica
from deployments.config import AnyModel, ProviderModel, Settings, VLLMModel, model_of
from deployments.models.deployment import deployment_class
from deployments.models.directory import ENTRY
from deployments.models.router import ObservedRouter
from deployments.models.shared_identity import publish_identities

NO_ACCESS_LOG = {"enable_access_log": False}
"""Each request has its line in the ingress's log; Serve would write three more, one of them at every hop."""
ROUTER = f"{ObservedRouter.__module__}.{ObservedRouter.__qualname__}"
SURGE_PERCENT = 100
"""A new replica for each old one before that stops; a GPU's worth of room for it is for the service file to promise."""

INGRESS_STOP_S = 960
"""How long a replaced replica may take to finish what its clients read: as long as an answer takes
(`timeouts.total_s`), and a minute. It is light, and nothing waits for it. The same holds for a provider's model, whose
answers no other replica can go on with."""
MODEL_STOP_S = 30
"""The same for a model's, whose GPU is waited for: what is not finished shortly before, another one goes on with."""


def build_app(args: Settings) -> Application:
    """Bind ingress and cache, and the models that stand among their settings; ValueError for what is not there."""
    if args.cache.enabled and args.cache.langchain:
        from deployments.cache.similar.plugged import named  # LangChain is for those who use it

        named(args.cache.langchain)  # what cannot be imported fails here, and not in replicas alone
    models = {model.id: _model(model, args.log_level) for model in args.models}
    cache = _cache().bind(args.cache, args.log_level, args.encrypt_replica_traffic) if args.cache.enabled else None
    identities = {name: of for model in args.models for name, of in publish_identities(model).items()}
    return _ingress().bind(args, identities, models, cache)


def build_model(args: dict[str, Any]) -> Application:
    """Bind one model, which the ingress finds through Serve; raises ValueError for what is wrong with it."""
    model = model_of(args)
    publish_identities(model)
    return _entry().bind(_model(model, "INFO"))


class Entry:
    """What Serve takes for the way into a model's application: no request comes by it, and it has no replica.

    With HAProxy, Serve refuses a request router of our own at an application's first deployment.
    """

    def __init__(self, model: object) -> None:
        """`model` is the handle that makes the model's deployment part of the application."""


def _entry() -> serve.Deployment:
    return serve.deployment(
        name=ENTRY,
        autoscaling_config={"min_replicas": 0, "initial_replicas": 0, "max_replicas": 1},
        ray_actor_options={"num_cpus": 0},
    )(Entry)


def _ingress() -> serve.Deployment:
    return serve.deployment(
        name="Ingress",
        max_ongoing_requests=5000,
        max_surge_percent=SURGE_PERCENT,
        graceful_shutdown_timeout_s=INGRESS_STOP_S,
        ray_actor_options={"num_cpus": 0.1},
        logging_config=NO_ACCESS_LOG,
    )(serve.ingress()(Ingress))


def _cache() -> serve.Deployment:
    return serve.deployment(
        name="CacheLookup",
        max_ongoing_requests=1000,
        max_surge_percent=SURGE_PERCENT,
        ray_actor_options={"num_cpus": 0.1},
        logging_config=NO_ACCESS_LOG,
    )(CacheReplica)


def _model(model: AnyModel, log_level: str) -> Application:
    return serve.deployment(
        name=model.deployment,
        # Above what an engine runs at once: requests wait in our queue (models/queues.py), not in Serve's, which looks
        # for a free place now and then only.
        max_ongoing_requests=2048,
        max_queued_requests=1024,
        max_surge_percent=0 if isinstance(model, VLLMModel) else SURGE_PERCENT,
        ray_actor_options={"num_cpus": 0.5},
        logging_config=NO_ACCESS_LOG,
        request_router_config=RequestRouterConfig(
            request_router_class=ROUTER,  # pyright: ignore[reportArgumentType] - Ray types it wrongly
            request_routing_stats_period_s=5,  # pyright: ignore[reportArgumentType] - the same
        ),
        # A replica that is frozen is ended by its guard (infra/liveness/), before Serve misses it three times.
        health_check_period_s=5,
        health_check_timeout_s=15,
        graceful_shutdown_timeout_s=INGRESS_STOP_S if isinstance(model, ProviderModel) else MODEL_STOP_S,
        graceful_shutdown_wait_loop_s=0.5,
    )(deployment_class(model)).bind(model, log_level)
