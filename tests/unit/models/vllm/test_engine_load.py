"""What a vLLM replica reports to the autoscaler, from what its engine tells after each step."""

import time
import tracemalloc
from dataclasses import dataclass, field
from typing import Any

import pytest

from deployments.models.scripted.load import ScriptedLoad
from deployments.models.vllm.engine_load import ALONE, EngineLoad, EngineSteps


@dataclass
class Stats:
    arrival_time: float


@dataclass
class Request:
    """What vLLM's output processor knows of a sequence, as far as it is read."""

    prompt_len: int = 10
    is_prefilling: bool = False
    stats: Stats = field(default_factory=lambda: Stats(time.time()))


def test_time_counts_as_busy_only_while_the_scheduler_holds_something() -> None:
    steps = EngineSteps()
    for now, running in ((100.0, 2), (100.5, 2), (101.0, 0), (107.0, 1), (107.25, 0)):
        steps.ended(now, running, 0, 0.25)
    assert (steps.steps, steps.busy_s, steps.kv_cache) == (5, 1.25, 0.25)


def test_the_cost_of_a_step_is_that_of_steps_with_one_sequence() -> None:
    steps, now = EngineSteps(), 0.0

    def go(count: int, seconds: float, running: int) -> None:
        nonlocal now
        for _ in range(count):
            now += seconds
            steps.ended(now, running, 0, 0.0)

    go(30, 0.05, 20)
    assert steps.step_s == 0.0, "none of them ran alone"
    go(ALONE, 0.01, 1)
    assert steps.step_s == pytest.approx(0.01)
    go(ALONE, 0.02, 1)
    assert steps.step_s == pytest.approx(0.01), "the least counts"
    go(ALONE - 1, 0.001, 1)
    steps.read(500, [0.2])
    go(1, 0.001, 1)
    assert steps.step_s == pytest.approx(0.01), "a step that reads a prompt is not one of them"


def test_a_replica_reports_what_runs_and_who_waits_longest(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    requests: dict[str, Any] = {"a": Request(), "b": Request(), "c": Request(500, True, Stats(time.time() - 7))}
    steps = EngineSteps()
    load = EngineLoad(steps, requests, 256)
    steps.ended(1000.0, 2, 1, 0.5)
    assert load.load(2.0).busy == 0.0, "there is no rate yet"
    clock[0] = 1010.0
    for step in range(1, 101):
        steps.ended(1000.0 + step / 20, 2, 1, 0.5)
    steps.read(3000, [0.1, 0.3])
    told = load.load(2.0)
    assert (told.running, told.waiting, told.max_running, told.kv_cache) == (2, 1, 256, 0.5)
    assert (told.busy, told.steps_per_s, told.target_ttft_s) == (0.5, 10.0, 2.0)
    assert told.asked_tokens_per_s == told.read_tokens_per_s == 300.0
    assert 7 <= told.ttft_s < 60
    requests.clear()
    steps.read(0, [0.1, 0.3])
    assert load.load(None).ttft_s == pytest.approx(0.2)
    assert load.load(None).ttft_s == 0.0


def test_first_tokens_that_nobody_asks_about_take_no_memory() -> None:
    steps, scripted = EngineSteps(), ScriptedLoad(8)
    tracemalloc.start()
    try:
        for number in range(5_000):
            steps.read(1, [float(number)])
            scripted.first_token(float(number))
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 50_000
    assert scripted.load(0, 0, None).ttft_s == pytest.approx(2499.5)
