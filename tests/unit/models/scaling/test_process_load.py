"""Replicas that are one process report the share of a core that they take, and scale by it."""

import time

import pytest

from deployments.cache.deployment import CacheReplica
from deployments.config import CacheSettings
from deployments.models.scaling.load import FIGURES
from deployments.models.scaling.policy import Memory, Reading, decide
from deployments.models.scaling.process_load import ProcessLoad


class Clocks:
    """What the clocks of this process show."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = self.processor = 100.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        monkeypatch.setattr(time, "process_time", lambda: self.processor)

    def go(self, seconds: float, processor_s: float) -> None:
        self.now += seconds
        self.processor += processor_s


def test_a_process_that_computes_all_the_time_needs_another_one(monkeypatch: pytest.MonkeyPatch) -> None:
    clocks = Clocks(monkeypatch)
    process = ProcessLoad()
    clocks.go(10.0, 9.0)
    busy = process.load(300, 2000)
    assert (busy.busy, busy.running, busy.max_running) == (0.9, 300, 2000)
    clocks.go(10.0, 1.0)
    calm = process.load(300, 2000)
    assert calm.busy == 0.1
    up, stay = (decide(Reading(0.0, 1, 1, [load]), Memory()) for load in (busy, calm))
    assert (up.replicas, up.cause, stay.replicas) == (2, "work", 1)
    assert up.reason == "computing 90 %, 300 of 2000 running"


def test_open_requests_count_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    Clocks(monkeypatch)
    verdict = decide(Reading(0.0, 1, 1, [ProcessLoad().load(1600, 2000)]), Memory())
    assert (verdict.replicas, verdict.cause) == (2, "requests")


async def test_a_cache_replica_reports_what_the_policy_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1")
    monkeypatch.setenv("DATABASE_URL", "postgresql://127.0.0.1:1/none")
    clocks = Clocks(monkeypatch)
    replica = CacheReplica(CacheSettings(), "WARNING")
    clocks.go(10.0, 5.0)
    told = await replica.record_autoscaling_stats()
    assert tuple(told) == FIGURES and told["busy"] == 0.5
