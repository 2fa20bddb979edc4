"""What vLLM tells of a step reaches Ray's metrics at a price that does not grow with the tokens."""

import warnings
from typing import Any

import pytest

from deployments.metrics.gathered import GatheredMetrics
from deployments.models.vllm.engine_load import EngineSteps

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # vLLM's own imports
    from vllm.v1.metrics.stats import IterationStats, SchedulerStats

    from deployments.models.vllm import engine_metrics
    from deployments.models.vllm.engine_metrics import EngineMetrics, GatheredCounter, GatheredGauge, thinned


class Recorded:
    """A metric of Ray's that remembers what it was told."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def inc(self, value: float, tags: dict[str, str]) -> None:
        self.calls.append(("inc", value, tags))

    def set(self, value: float, tags: dict[str, str]) -> None:
        self.calls.append(("set", value, tags))


def test_one_time_between_tokens_is_observed_for_each_step() -> None:
    stats = IterationStats()
    stats.num_generation_tokens = 64
    stats.inter_token_latencies_iter = [0.01 * number for number in range(1, 65)]
    stats.time_to_first_tokens_iter = [0.2, 0.3]

    fewer = thinned(stats)

    assert fewer is not None
    assert len(fewer.inter_token_latencies_iter) == 1
    assert fewer.inter_token_latencies_iter[0] in stats.inter_token_latencies_iter
    assert (fewer.num_generation_tokens, fewer.time_to_first_tokens_iter) == (64, [0.2, 0.3])
    assert len(stats.inter_token_latencies_iter) == 64, "other loggers see all of them"


def test_a_step_of_one_request_is_recorded_as_it_is() -> None:
    stats = IterationStats()
    stats.inter_token_latencies_iter = [0.02]

    assert thinned(stats) is stats
    assert thinned(None) is None


def test_gauges_and_counters_reach_ray_when_they_are_gathered(monkeypatch: pytest.MonkeyPatch) -> None:
    gathered, told = GatheredMetrics(), Recorded()
    monkeypatch.setattr(engine_metrics, "_gathered", gathered)
    gauge, counter = object.__new__(GatheredGauge), object.__new__(GatheredCounter)
    for metric in (gauge, counter):
        metric.metric, metric._tags = told, {"model_name": "guide"}

    for step in range(5):
        gauge.set(step)
        counter.inc(2)
        counter.inc(0)
    assert told.calls == []
    gathered.flush()

    assert sorted(told.calls) == [("inc", 10, {"model_name": "guide"}), ("set", 4, {"model_name": "guide"})]


def test_vllm_makes_its_metrics_from_them() -> None:
    assert (EngineMetrics._gauge_cls, EngineMetrics._counter_cls) == (GatheredGauge, GatheredCounter)


@pytest.mark.parametrize("first", [0, 3])
def test_of_engines_side_by_side_one_tells_how_full_they_are(monkeypatch: pytest.MonkeyPatch, first: int) -> None:
    monkeypatch.setattr(EngineMetrics.__mro__[1], "record", lambda *_, **__: None)
    metrics = object.__new__(EngineMetrics)
    metrics.steps, metrics._telling = EngineSteps(), None
    for engine, full in ((first, 0.5), (first + 1, 0.9)):
        metrics.record(SchedulerStats(num_running_reqs=1, kv_cache_usage=full), None, engine_idx=engine)
    assert (metrics.steps.steps, metrics.steps.kv_cache) == (1, 0.5)
