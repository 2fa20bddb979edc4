"""What waits in the queues in front of the models: the figures, and the metrics of one ingress replica about them."""

import functools
from collections.abc import Mapping
from typing import Any, Self

import msgspec
from ray.serve.metrics import Counter, Gauge

from deployments.metrics.gathered import GatheredMetrics


class Waiting(msgspec.Struct, array_like=True, frozen=True):
    """The requests of one model and priority that wait, what they are expected to cost, and the oldest one's wait.

    `tokens` are those of the prompts and twice those of the answers, which is what keys share.
    """

    requests: int = 0
    tokens: float = 0.0
    oldest_s: float = 0.0

    def __add__(self, other: Self) -> "Waiting":
        """Return the figures of two ingress replicas together."""
        return Waiting(self.requests + other.requests, self.tokens + other.tokens, max(self.oldest_s, other.oldest_s))


Queues = Mapping[str, Mapping[str, Waiting]]
"""By model and priority."""


class QueueMetrics:
    """The metrics of the queues of one event loop; reported to Ray within a second."""

    def __init__(self) -> None:
        self._gathered = GatheredMetrics()

    def tell(self, model: str, priority: str, waiting: Waiting) -> None:
        """Record what waits now."""
        for gauge, value in zip(_gauges(), (waiting.requests, waiting.tokens, waiting.oldest_s), strict=True):
            self._gathered.level(gauge, value, model=model, priority=priority)

    def count_refusal(self, model: str, priority: str, reason: str) -> None:
        """Count a request that was refused: of a full queue or key, or for a wait that is too long."""
        self._gathered.count(_refusals(), model=model, priority=priority, reason=reason)


def _keys(*names: str) -> Any:
    return names  # Ray's stubs say a tuple of one


@functools.cache
def _gauges() -> tuple[Gauge, Gauge, Gauge]:
    return (
        Gauge(
            "chatllm_queue_requests", "Requests that wait in front of a model's engines.", _keys("model", "priority")
        ),
        Gauge(
            "chatllm_queue_tokens",
            "Tokens that waiting requests are expected to cost; those of answers count twice.",
            _keys("model", "priority"),
        ),
        Gauge("chatllm_queue_oldest_seconds", "How long the oldest of them has waited.", _keys("model", "priority")),
    )


@functools.cache
def _refusals() -> Counter:
    return Counter(
        "chatllm_queue_refusals_total",
        "Requests that the queue has refused: key_full, full, deadline (its client would leave before), or max_wait.",
        tag_keys=_keys("model", "priority", "reason"),
    )
