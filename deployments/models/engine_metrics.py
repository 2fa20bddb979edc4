"""vLLM's metrics through Ray, at a price that does not grow with the tokens. Imports vllm."""

import copy
import random
from typing import Any

from vllm.v1.metrics.ray_wrappers import RayPrometheusStatLogger
from vllm.v1.metrics.stats import IterationStats, SchedulerStats


class EngineMetrics(RayPrometheusStatLogger):
    """vLLM's own metrics, but for the time between tokens, of which each step of the engine gives one.

    vLLM observes it for every token of every request. An observation through Ray
    costs 10 to 20 µs, a third of what the front end of a busy engine takes, and in
    one step it is the same for nearly all requests. So the histogram's quantiles
    hold, and its count is that of steps with a decoded token, not that of tokens.
    """

    def record(
        self,
        scheduler_stats: SchedulerStats | None,
        iteration_stats: IterationStats | None,
        *rest: Any,
        **named: Any,
    ) -> None:
        """Record the figures of one step."""
        super().record(scheduler_stats, thinned(iteration_stats), *rest, **named)


def thinned(stats: IterationStats | None) -> IterationStats | None:
    """Return the figures with one of the times between tokens, by chance; other loggers keep what they were given."""
    if stats is None or len(stats.inter_token_latencies_iter) < 2:
        return stats
    fewer = copy.copy(stats)
    fewer.inter_token_latencies_iter = [random.choice(stats.inter_token_latencies_iter)]  # noqa: S311 - a sample
    return fewer
