"""Figures of many replicas, added up over the same time."""

from typing import Any

import pytest

from deployments.chat.summary import Summary
from deployments.errors import Overloaded
from deployments.infra.redis.errors import StoreError
from deployments.metrics.memory import MemoryFigures
from deployments.metrics.queues import Waiting
from deployments.metrics.recorder import Recorder
from deployments.metrics.report import Report, added_up, starts
from deployments.metrics.sharing import Metrics, Reported
from deployments.metrics.store import Readings, ReplicaFigures, State
from tests.unit.metrics.clocks import Clock

NOW = 1_800_000_000.0


def waiting(requests: int, oldest_s: float) -> dict[str, dict[str, Waiting]]:
    return {"quick": {"interactive": Waiting(requests, 10.0 * requests, oldest_s)}}


class Replica:
    """An ingress replica whose clock shows what it likes; only its pace is right."""

    def __init__(self, store: MemoryFigures, clock_shows: float) -> None:
        self.clock = Clock(clock_shows)
        self.recorder = Recorder(self.clock)
        self.metrics = Metrics(self.recorder, store)

    def asked(self, status: int = 200, took_s: float = 0.1, **more: Any) -> None:
        self.recorder.began()
        summary = Summary(**{"model": "quick", "cache": "MISS", "completion_tokens": 10, **more})
        self.recorder.ended("req_1", "key_1", summary, status, took_s)


class Cluster:
    """Replicas around one store; time passes for all of them alike."""

    def __init__(self, *clocks_show: float) -> None:
        self.clock = Clock(NOW)
        self.store = MemoryFigures(self.clock)
        self.replicas = [Replica(self.store, shows) for shows in clocks_show]

    def pass_time(self, seconds: float) -> None:
        self.clock.seconds += seconds
        for replica in self.replicas:
            replica.clock.seconds += seconds

    async def told_by(self, at: int, window_s: int = 900, step_s: int = 15) -> Reported:
        for replica in self.replicas:
            await replica.metrics.publish()
        return await self.replicas[at].metrics.report(window_s, step_s)


def requests(report: Report) -> dict[float, int]:
    """Return how many requests ended in each step in which any did, by how long ago it began."""
    return {NOW - point.start: sum(point.counts.statuses.values()) for point in report.points if point.counts.statuses}


def test_steps_begin_at_multiples_of_their_length_and_the_last_one_is_not_over() -> None:
    assert starts(NOW + 7, 60, 15) == [NOW - 45, NOW - 30, NOW - 15, NOW]
    assert starts(NOW + 15, 60, 15)[-1] == NOW + 15


async def test_clocks_that_differ_by_hours_show_the_same_time() -> None:
    cluster = Cluster(50.0, 90_000.0, 1_000_000.0)
    for replica in cluster.replicas:
        replica.asked()
    cluster.pass_time(300)
    cluster.replicas[1].asked(429)
    for at in range(3):
        told = await cluster.told_by(at)
        assert (told.now, told.replicas_seen, told.failure) == (NOW + 300, 3, "")
        assert sum(requests(told.report).values()) == 4
        # A bucket begins where the replica's clock says, so that it may fall into the neighbouring step.
        assert all(-15 <= ago <= 15 for ago in list(requests(told.report))[:-1])
        assert list(requests(told.report))[-1] in (-285.0, -300.0)
        assert (told.report.total.statuses, told.report.total.output_tokens) == ({200: 3, 429: 1}, 40)


async def test_what_a_replica_counted_before_its_restart_stays() -> None:
    cluster = Cluster(100.0, 200.0)
    cluster.replicas[1].recorder.began()  # never ends
    cluster.replicas[1].asked()
    await cluster.told_by(0)
    killed = cluster.replicas.pop()
    cluster.pass_time(20)
    cluster.replicas.append(Replica(cluster.store, 0.5))  # the clock of another machine
    cluster.replicas[1].asked()
    told = await cluster.told_by(0)
    assert sum(requests(told.report).values()) == 2
    assert told.replicas_seen == 2
    assert [replica.id for replica in told.report.replicas if not replica.is_there] == [killed.recorder.id]
    assert told.report.points[-1].peak == 1
    assert max(point.peak for point in told.report.points) == 2
    cluster.pass_time(4000)
    assert killed.recorder.id not in {replica.id for replica in (await cluster.told_by(0)).report.replicas}


async def test_a_replica_that_tells_counts_itself_once_and_to_this_moment() -> None:
    cluster = Cluster(100.0, 200.0)
    cluster.replicas[0].asked()
    await cluster.told_by(0)
    for replica in cluster.replicas:
        replica.asked()  # not published
    assert (await cluster.replicas[0].metrics.report(900, 15)).report.total.statuses == {200: 2}
    assert (await cluster.replicas[1].metrics.report(900, 15)).report.total.statuses == {200: 2}
    assert (await cluster.told_by(1)).report.total.statuses == {200: 3}


async def test_models_results_and_durations_are_apart() -> None:
    cluster = Cluster(100.0, 200.0)
    one, other = cluster.replicas
    one.asked(cache="HIT", completion_tokens=4)
    other.asked(cache="JOIN", completion_tokens=6, first_token_s=0.2, took_s=3)
    other.asked(model="slow", cache="BYPASS", first_token_s=2.0, prompt_tokens=9, took_s=8)
    report = (await cluster.told_by(0)).report
    assert report.total.results == {"HIT": 1, "JOIN": 1, "BYPASS": 1}
    quick, slow = report.models["quick"], report.models["slow"]
    assert (quick.output_tokens, quick.reused_tokens, slow.output_tokens, slow.prompt_tokens) == (0, 10, 10, 9)
    assert sum(quick.first_token.values()) == 1


async def test_only_the_time_asked_for_is_added_up() -> None:
    cluster = Cluster(100.0)
    for _ in range(10):
        cluster.replicas[0].asked(503, failure=Overloaded())
        cluster.pass_time(300)
    assert (await cluster.told_by(0, 900, 15)).report.total.statuses == {503: 2}  # 300 and 600 s ago
    hour = (await cluster.told_by(0, 3600, 60)).report
    assert len(hour.points) == 60
    assert hour.total.statuses == {503: 10}
    assert [round(NOW + 3000 - fault.at) for fault in hour.faults] == list(range(300, 3001, 300))
    assert {fault.code for fault in hour.faults} == {"overloaded"}


async def test_a_store_that_fails_leaves_this_replica_s_own_figures() -> None:
    class Away(MemoryFigures):
        async def read(self, since: float) -> Readings:
            raise StoreError("timeout")

    replica = Replica(Away(), 100.0)
    replica.asked()
    told = await replica.metrics.report(900, 15)
    assert (told.failure, told.replicas_seen, told.report.total.statuses) == ("redis_timeout", 1, {200: 1})


async def test_a_store_that_lost_everything_gets_all_of_it_again() -> None:
    cluster = Cluster(100.0, 200.0)
    for _ in range(5):
        cluster.replicas[0].asked()
        cluster.pass_time(5)
        await cluster.told_by(0)
    cluster.store._left.clear()
    await cluster.told_by(0)  # now it is known that they are lost
    assert (await cluster.told_by(1)).report.total.statuses == {200: 5}


def test_figures_that_cannot_be_read_are_left_out_and_it_is_said() -> None:
    good, bad = Recorder(Clock()), Recorder(Clock())
    good.began()
    good.ended("req_1", "key_1", Summary("quick"), 200, 0.1)
    figures = [
        ReplicaFigures("good", NOW, State(1000.0, 1000.0, 0), good.buckets()),
        ReplicaFigures("bad", NOW, State(1000.0, 1000.0, 0), [*bad.buckets(), b"rubbish"]),
    ]
    report = added_up(figures, NOW, 900, 15)
    assert (report.is_whole, report.total.statuses) == (False, {200: 1})


@pytest.mark.parametrize("share_s", [0.0, 2.4, 2.6, 4.9])
async def test_nothing_is_lost_between_two_steps(share_s: float) -> None:
    cluster = Cluster(100.0 + share_s)
    for _ in range(60):
        cluster.replicas[0].asked()
        cluster.pass_time(1)
    told = await cluster.told_by(0, 120, 10)
    assert sum(requests(told.report).values()) == 60
    assert max(requests(told.report).values()) <= 15


async def test_a_bucket_that_reaches_into_the_step_to_come_counts_in_the_present_one() -> None:
    cluster = Cluster(97.0)
    cluster.pass_time(8)
    cluster.replicas[0].asked()  # in the bucket from 8 to 13 s, of a step that ends after 10
    assert requests((await cluster.told_by(0, 120, 10)).report) == {0.0: 1}


async def test_replicas_of_models_are_the_most_that_any_ingress_replica_saw() -> None:
    cluster = Cluster(1_000.0, 50_000.0)
    cluster.replicas[0].recorder.note_replicas({"quick": 1})
    cluster.replicas[1].recorder.note_replicas({"quick": 2, "slow": 0})
    cluster.replicas[1].recorder.note_replicas({"quick": 1, "slow": 0})
    cluster.pass_time(30)
    for replica in cluster.replicas:
        replica.recorder.note_replicas({"quick": 3, "slow": 1})
    points = (await cluster.told_by(0)).report.points
    seen = {NOW - point.start: point.replicas for point in points if point.replicas}
    assert seen == {0: {"quick": 2, "slow": 0}, -30: {"quick": 3, "slow": 1}}


async def test_what_waits_is_that_of_all_replicas_that_are_there() -> None:
    cluster = Cluster(1000.0, 50.0, 10.0)
    for replica, count in zip(cluster.replicas, (3, 4, 50), strict=True):
        replica.recorder.note_queues(waiting(count, 2.0 * count))
    gone = cluster.replicas.pop()
    await gone.metrics.publish()
    cluster.pass_time(20.0)
    cluster.replicas[0].recorder.note_queues(waiting(5, 10.0))
    cluster.replicas[0].recorder.note_queues(waiting(2, 1.0))
    report = (await cluster.told_by(1)).report
    assert report.queues == {"quick": {"interactive": Waiting(6, 60.0, 8.0)}}
    assert [point.waiting for point in report.points[-2:]] == [{"quick": 57}, {"quick": 5}]
