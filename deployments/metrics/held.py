"""How many requests wait in an ingress replica for a model that has no replica."""

import functools

from ray.serve.metrics import Gauge

from deployments.metrics.gathered import GatheredMetrics

_gathered = GatheredMetrics()  # of the process: each model's waiting room tells its own level


def tell_held(model: str, count: int) -> None:
    """Record how many requests are held; reported to Ray within a second."""
    _gathered.level(_gauge(), count, model=model)


@functools.cache
def _gauge() -> Gauge:
    return Gauge("chatllm_held_requests", "Requests that wait for a replica of their model.", tag_keys=("model",))
