"""Quantiles of counted durations are as good as promised."""

import random
from collections import Counter

import pytest

from deployments.metrics.histogram import FIRST_S, GROWTH, STEPS, quantile, step_of


def counted(durations: list[float]) -> Counter[int]:
    return Counter(map(step_of, durations))


@pytest.mark.parametrize("share", [0.5, 0.95, 0.99])
def test_a_quantile_is_off_by_less_than_an_eighth(share: float) -> None:
    generator = random.Random(7)
    durations = sorted(generator.lognormvariate(-1.5, 1.2) for _ in range(5000))
    exact = durations[int(share * len(durations))]
    assert quantile(counted(durations), share) == pytest.approx(exact, rel=1 / 8)


def test_a_duration_falls_into_the_step_that_ends_above_it() -> None:
    for step in range(1, STEPS):
        bound = FIRST_S * GROWTH**step
        assert step_of(bound * 0.999) == step
        assert step_of(bound * 1.001) == min(STEPS - 1, step + 1)


def test_what_is_too_short_or_too_long_is_counted_all_the_same() -> None:
    assert [step_of(seconds) for seconds in (0.0, -1.0, 1e-9, 1e9)] == [0, 0, 0, STEPS - 1]
    assert quantile({STEPS - 1: 3}, 0.5) > 1000  # type: ignore[operator]


def test_nothing_has_no_quantile() -> None:
    assert quantile({}, 0.5) is None


def test_sums_of_two_processes_have_the_quantiles_of_all() -> None:
    fast, slow = [0.01] * 90, [2.0] * 10
    merged = counted(fast) + counted(slow)
    assert merged == counted(fast + slow)
    assert quantile(merged, 0.5) == pytest.approx(0.01, rel=1 / 8)
    assert quantile(merged, 0.95) == pytest.approx(2.0, rel=1 / 4)
