"""The queue in front of an H100 (tests/overload): how true what it tells is, and what a flood does to others."""

import statistics

from tests.overload.flood import WITHOUT_QUEUE, Flooded
from tests.overload.service import Load, Service


def test_at_three_times_the_capacity_who_comes_again_as_told_is_let_in() -> None:
    run = Service(Load(3.0)).simulate()
    assert len(run.room_errors) > 1_000
    assert statistics.median(map(abs, run.room_errors)) < 0.25
    assert run.let_in_at_first_retry > 0.95
    assert all(asked.started is not None for asked in run.asked)


def test_below_the_capacity_nobody_is_refused() -> None:
    run = Service(Load(0.8, seconds=20)).simulate()
    assert run.let_in == run.refused_again == 0
    assert all(asked.attempts == 1 for asked in run.asked)


def test_a_flood_neither_delays_others_nor_loses_throughput() -> None:
    without, fair = Flooded(512, WITHOUT_QUEUE).figures(), Flooded(512).figures()
    assert fair.ttft_p95_s < 0.15 < 4.0 < without.ttft_p95_s
    assert fair.tokens_per_s > 0.97 * without.tokens_per_s
