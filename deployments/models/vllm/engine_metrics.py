"""vLLM's metrics through Ray, at a price that does not grow with steps and tokens. Imports vllm.

vLLM sets some twenty gauges and counters in each step of the engine, and observes
the time between tokens for every token of every request. To tell Ray of one costs
about 10 µs: with one stream that was a fifth of a millisecond for each token, with
many a third of what the front end of the engine took.
"""

import copy
import random
import time
from typing import Any, cast

from ray.util.metrics import Counter, Gauge
from vllm.v1.metrics.ray_wrappers import RayCounterWrapper, RayGaugeWrapper, RayPrometheusStatLogger
from vllm.v1.metrics.stats import IterationStats, SchedulerStats

from deployments.metrics.gathered import GatheredMetrics
from deployments.models.vllm.engine_load import EngineSteps

_gathered = GatheredMetrics()  # of the process: vLLM makes the metrics itself, from the classes below


class GatheredGauge(RayGaugeWrapper):
    """A gauge that is reported to Ray once a second."""

    def set(self, value: int | float) -> None:
        """Keep the value until then."""
        _gathered.level(cast(Gauge, self.metric), value, **self._tags)


class GatheredCounter(RayCounterWrapper):
    """A counter that is reported to Ray once a second."""

    def inc(self, value: int | float = 1.0) -> None:
        """Add to what is reported next."""
        if value:
            _gathered.count(cast(Counter, self.metric), value, **self._tags)


class EngineMetrics(RayPrometheusStatLogger):
    """vLLM's own metrics, of which only the time between tokens differs: each step contributes one, chosen at random.

    In one step it is the same for nearly all requests. So the histogram's quantiles
    hold, and its count is that of steps with a decoded token, not that of tokens.
    """

    _gauge_cls = GatheredGauge
    _counter_cls = GatheredCounter

    def __init__(self, *arguments: Any, **named: Any) -> None:
        """Record what vLLM reports."""
        super().__init__(*arguments, **named)
        self.steps = EngineSteps()
        self._telling: int | None = None

    def record(
        self,
        scheduler_stats: SchedulerStats | None,
        iteration_stats: IterationStats | None,
        *rest: Any,
        **named: Any,
    ) -> None:
        """Record the figures of one step; to be called in the event loop."""
        if iteration_stats is not None:
            self.steps.read(iteration_stats.num_prompt_tokens, iteration_stats.time_to_first_tokens_iter)
        # Of engines side by side (data parallelism) one tells for all how long steps take and how full they are.
        if scheduler_stats is not None and self._telling in (None, engine := named.get("engine_idx", 0)):
            self._telling = engine
            waiting = scheduler_stats.num_waiting_reqs + scheduler_stats.num_skipped_waiting_reqs
            running, kv_cache = scheduler_stats.num_running_reqs, scheduler_stats.kv_cache_usage
            self.steps.ended(time.monotonic(), running, waiting, kv_cache)
        super().record(scheduler_stats, thinned(iteration_stats), *rest, **named)


def thinned(stats: IterationStats | None) -> IterationStats | None:
    """Return the figures with one of the times between tokens; other loggers keep what they were given."""
    if stats is None or len(stats.inter_token_latencies_iter) < 2:
        return stats
    fewer = copy.copy(stats)
    fewer.inter_token_latencies_iter = [random.choice(stats.inter_token_latencies_iter)]  # noqa: S311 - a sample
    return fewer
