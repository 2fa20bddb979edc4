"""The policy on a simulated service, against Serve's own on the same traces (docs/explanation/autoscaling.md)."""

import functools

import pytest
from ray.serve.autoscaling_policy import default_autoscaling_policy

from tests.scaling.comparison import GOAL_S, Result, config, flips, ours, result
from tests.scaling.engine import published_like
from tests.scaling.service import simulate
from tests.scaling.traces import BURST, RAMP, SPIKE, TRACES, Trace, steady, step

PUBLISHED = {
    (128, 128): 28_312,
    (128, 2048): 22_714,
    (128, 4096): 14_325,
    (500, 2000): 17_660,
    (1000, 1000): 15_220,
    (1000, 2000): 13_899,
    (2048, 128): 3_450,
    (2048, 2048): 9_305,
    (5000, 500): 3_459,
    (20_000, 2000): 1_351,
}
"""Output tokens per second by lengths of prompt and answer; the source stands in tests/scaling/engine.py."""

FLIPS = {"ramp": 0, "spike": 1, "day curve": 1, "long prompts": 1}
"""How often the load itself turns round."""


@functools.cache
def ours_on(trace: Trace) -> Result:
    return result("ours", simulate(ours, config(), trace, GOAL_S))


@functools.cache
def serves_on(trace: Trace, target: int) -> Result:
    run = simulate(default_autoscaling_policy, config(target), trace, GOAL_S)  # pyright: ignore[reportArgumentType]
    return result(f"Serve's, {target}", run)


@pytest.mark.parametrize(("lengths", "tokens_per_s"), PUBLISHED.items())
def test_the_engine_has_the_published_rates(lengths: tuple[int, int], tokens_per_s: float) -> None:
    assert 0.85 < published_like(*lengths) / tokens_per_s < 1.1


@pytest.mark.parametrize("trace", TRACES, ids=lambda trace: trace.name)
def test_it_never_turns_round_but_with_the_load(trace: Trace) -> None:
    assert ours_on(trace).flips == FLIPS[trace.name]


@pytest.mark.parametrize(
    ("trace", "target"), [(RAMP, 64), (RAMP, 96), (SPIKE, 128), (SPIKE, 160), (BURST, 32), (BURST, 64)]
)
def test_it_is_late_less_often_at_no_more_replica_hours(trace: Trace, target: int) -> None:
    mine, serves = ours_on(trace), serves_on(trace, target)
    assert mine.replica_hours < serves.replica_hours
    assert mine.late_s < serves.late_s or mine.late_s == 0


def test_that_few_replica_hours_make_serves_policy_late_on_a_ramp() -> None:
    assert serves_on(RAMP, 128).late_s > ours_on(RAMP).late_s == 0


@pytest.mark.parametrize("rate", [2, 4, 6, 12, 20])
def test_noise_of_20_percent_moves_nothing(rate: int) -> None:
    run = simulate(ours, config(), steady(rate, 2400), GOAL_S, noise=0.2, replicas=max(1, rate // 6))
    assert flips(run.targets, max(1, rate // 6)) == 0
    assert len(run.targets) <= 1


@pytest.mark.parametrize("high", [12, 20, 40])
def test_it_reacts_within_two_look_back_periods(high: int) -> None:
    run = simulate(ours, config(), step(4, high, 300, 400), GOAL_S)
    assert run.targets and 300 < run.targets[0][0] <= 300 + 2 * config().look_back_period_s
    said = run.states[0]["said"]["reason"]
    assert "running" in said
