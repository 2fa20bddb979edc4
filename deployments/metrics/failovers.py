"""What became of requests whose model replica was lost."""

import functools
from typing import Any

from ray.serve.metrics import Counter

from deployments.metrics.gathered import GatheredMetrics

_gathered = GatheredMetrics()


def count_failover(model: str, outcome: str) -> None:
    """Count a request that lost its replica; reported to Ray within a second.

    It was `continued` on another replica after its tokens, `repeated` there from the start, or `given_up`;
    `handed_over` where the replica was stopped and left it to another one.
    """
    _gathered.count(_counter(), model=model, outcome=outcome)


def _keys(*names: str) -> Any:
    return names  # Ray's stubs say a tuple of one


@functools.cache
def _counter() -> Counter:
    return Counter(
        "chatllm_failovers_total",
        "Requests that lost their model replica, by what became of them.",
        tag_keys=_keys("model", "outcome"),
    )
