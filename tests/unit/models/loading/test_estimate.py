"""What starts took tells what the next one takes, phase by phase."""

import asyncio

import pytest

from deployments.models.loading.estimate import MAX_STARTS, Start, remaining_s, typical
from deployments.models.loading.progress import Loading
from deployments.models.loading.starts import MAX_JOINING_S, MemoryStarts, StartTimes, started

PHASES = {"scheduling": 4.0, "starting": 6.0, "reading_weights": 20.0, "warming_up": 10.0, "joining": 1.0}


def test_nothing_is_known_at_first() -> None:
    assert typical([]) == {} and remaining_s({}, "starting", 3) is None


def test_the_newest_starts_count_and_one_that_was_slow_alone_does_not() -> None:
    old = [Start("m", float(n), {"starting": 1000.0}) for n in range(10)]
    new = [Start("m", 100.0 + n, {"starting": s}) for n, s in enumerate([10.0, 11.0, 500.0, 9.0, 10.0])]
    assert len(new) == MAX_STARTS and typical([*new, *old])["starting"] == 10.0


def test_a_phase_that_a_start_did_not_have_took_it_no_time_unless_nobody_could_see_it() -> None:
    starts = [Start("m", 1, {"downloading": 90, "scheduling": 5}), Start("m", 2, {}), Start("m", 3, {})]
    assert typical(starts)["downloading"] == 0 and typical(starts)["scheduling"] == 5


@pytest.mark.parametrize(
    ("phase", "elapsed_s", "percent", "left_s"),
    [
        ("scheduling", 0, None, 41),
        ("scheduling", 3, None, 38),
        ("scheduling", 30, None, 37),
        ("reading_weights", 5, None, 26),
        ("reading_weights", 5, 50, 16),
        ("joining", 0.4, None, 0.6),
    ],
)
def test_what_is_left(phase: str, elapsed_s: float, percent: int | None, left_s: float) -> None:
    assert remaining_s(PHASES, phase, elapsed_s, percent) == pytest.approx(left_s)


def test_a_start_has_the_phases_of_its_replica_and_what_was_seen_around_them() -> None:
    loading = Loading("ready", since=100.0, took_s=30.0, phases={"starting": 10.0, "reading_weights": 20.0})
    told = started("m", loading, 95.0, 131.0)
    assert told.phases == {"scheduling": 5, "starting": 10, "reading_weights": 20, "joining": 1}
    late = started("m", loading, 105.0, 131.0 + MAX_JOINING_S)
    assert late.phases.keys() == {"starting", "reading_weights"}


async def test_a_replica_that_comes_is_kept_and_another_ingress_replica_adds_what_it_saw() -> None:
    store, replicas = MemoryStarts(), {("app", "m"): 0}
    loading = Loading("ready", since=100.0, took_s=30.0, phases={"starting": 30.0})
    demanded: list[float | None] = [None, 90.0]
    times = [StartTimes(store, lambda name: replicas[name], lambda _: loading, lambda _, at=at: at) for at in demanded]
    for each in times:
        await each.open(lambda: [("app", "m")])
    assert times[0].phases("m") == {}
    try:
        async with asyncio.timeout(10):
            await asyncio.sleep(0)
            await asyncio.sleep(0.7)  # one look while it is absent
            replicas["app", "m"] = 1
            while not all(each.phases("m") for each in times):
                await asyncio.sleep(0.05)
    finally:
        for each in times:
            await each.aclose()
    [start] = await store.newest()
    assert start.phases == {"scheduling": 10.0, "starting": 30.0}
