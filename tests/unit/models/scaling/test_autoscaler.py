"""What stands between Serve and the policy: the reading of a context, and the decisions that are told."""

import math
import threading
from dataclasses import field, fields, make_dataclass, replace
from typing import Any

import pytest
from ray.serve.autoscaling_policy import default_autoscaling_policy
from ray.serve.config import AutoscalingConfig, AutoscalingContext, AutoscalingPolicy

from deployments.infra.ray import key_value
from deployments.models.scaling import AUTOSCALER, autoscaler, decisions
from deployments.models.scaling.autoscaler import considered, reading_of
from deployments.models.scaling.decisions import MAX_DECISIONS, Decision, newest, record, recorded
from deployments.models.scaling.load import Load
from tests.scaling.service import TimeStampedValue

CROWDED = Load(running=100, waiting=41, max_running=100, kv_cache=0.93, asked_tokens_per_s=2.0, read_tokens_per_s=1.0)


def context(
    *loads: Load, target: int = 1, current: int | None = None, state: dict[str, Any] | None = None, total: float = 0.0
) -> AutoscalingContext:
    reported = {number: load.reported() for number, load in enumerate(loads)}
    names = list(Load().reported()) if loads else []
    return AutoscalingContext(
        deployment_id=None,  # type: ignore[arg-type]
        deployment_name="model-guide",
        app_name="guide",
        current_num_replicas=len(loads) if current is None else current,
        target_num_replicas=target,
        running_replicas=[],
        total_num_requests=total,
        total_queued_requests=0.0,
        aggregated_metrics={name: {n: each[name] for n, each in reported.items()} for name in names},  # type: ignore[misc]
        raw_metrics={name: {n: [TimeStampedValue(0, each[name])] for n, each in reported.items()} for name in names},  # type: ignore[misc]
        capacity_adjusted_min_replicas=1,
        capacity_adjusted_max_replicas=8,
        policy_state=state or {},
        last_scale_up_time=1001.0,
        last_scale_down_time=2002.0,
        current_time=1000.0,
        config=AutoscalingConfig(target_ongoing_requests=4, max_replicas=8),
    )


def test_a_context_is_read_as_it_was_reported() -> None:
    reading = reading_of(context(CROWDED, Load(max_running=100), target=3))
    assert (reading.now, reading.current, reading.target, reading.look_back_s) == (1000.0, 2, 3, 30.0)
    assert list(reading.loads) == [CROWDED, Load(max_running=100)] == list(reading.latest)


def test_what_waits_in_front_of_the_engines_counts_in_a_controller_of_the_version_before_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    former = make_dataclass(
        "Load", [(one.name, float, field(default=0.0)) for one in fields(Load) if one.name != "queued"]
    )
    monkeypatch.setattr(autoscaler, "Load", former)
    monkeypatch.setattr(autoscaler, "FIGURES", tuple(one.name for one in fields(former)))
    assert reading_of(context(replace(CROWDED, queued=3.0), replace(CROWDED, queued=4.0))).queued == 7.0


def test_a_decision_is_told_once_the_target_has_changed_with_the_reason_that_it_was_made_for() -> None:
    wanted, state, decision, _ = considered(context(CROWDED))
    assert (wanted, decision) == (3, None)
    _, state, decision, _ = considered(context(CROWDED, target=3, state=state))
    assert str(decision) == "1 → 3: 100 of 100 running, 41 waiting, KV cache 93 %"
    assert decision is not None and decision.at == 1001.0
    assert considered(context(CROWDED, target=3, state=state))[2] is None


def test_a_change_that_it_did_not_want_comes_from_the_bounds() -> None:
    half = Load(running=50, max_running=100)
    _, state, _, _ = considered(context(half))
    decision = considered(context(half, target=2, state=state))[2]
    assert decision is not None and decision.cause == "bounds"


def test_from_zero_it_was_the_requests_that_were_held() -> None:
    _, state, decision, _ = considered(context(target=0))
    assert decision is None
    decision = considered(context(Load(max_running=100), target=1, state=state))[2]
    assert decision is not None and (decision.before, decision.after, decision.cause) == (0, 1, "held")


def test_without_a_report_it_goes_by_ongoing_requests_as_serve_does() -> None:
    ctx = context(current=2, target=2, total=30)
    assert considered(ctx)[0] == 8
    assert default_autoscaling_policy(ctx)[0] == 7.5


def test_serve_takes_its_import_path() -> None:
    assert AutoscalingPolicy(policy_function=AUTOSCALER).get_policy().__name__ == "ModelAutoscaler"


def test_a_policy_that_fails_keeps_the_target_and_says_so_once(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(autoscaler.logger, "exception", lambda message, *_: said.append(message))
    policy, broken = autoscaler.ModelAutoscaler(), context(CROWDED, target=5, state={"memory": {}})
    broken.current_time = "soon"  # type: ignore[assignment]
    for _ in range(3):
        assert policy(broken) == (5, {"memory": {}})
    assert len(said) == 1


def test_figures_that_are_no_numbers_count_as_none() -> None:
    assert considered(context(replace(CROWDED, running=math.nan, kv_cache=math.inf)))[0] >= 1


def test_what_another_version_said_is_forgotten() -> None:
    state = {"said": {"target": 1, "unknown": 2}}
    assert considered(context(CROWDED, target=3, state=state))[2] is None


async def test_the_last_decisions_are_kept_for_each_deployment(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: dict[str, bytes] = {}
    monkeypatch.setattr(key_value, "put", kept.__setitem__)
    monkeypatch.setattr(key_value, "get", kept.get)
    for number in range(MAX_DECISIONS + 5):
        record("app", "model-a", Decision(float(number), number, number + 1, "work", "computing 80 %"))
    record("app", "model-b", Decision(7.5, 1, 0, "idle", "0 of 256 running"))
    assert recorded("app", "model-a")[0].before == 5
    found = await newest([("a", ("app", "model-a")), ("b", ("app", "model-b")), ("c", ("app", "model-c"))])
    assert len(found) == MAX_DECISIONS and found[0][0] == "a" and ("b", recorded("app", "model-b")[0]) in found
    kept["scaling:app:model-a"] = b"{}"
    assert recorded("app", "model-a") == []


async def test_a_head_that_hangs_is_asked_once_and_what_was_known_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    gate, calls = threading.Event(), []

    def hang(key: str) -> None:
        calls.append(key)
        gate.wait(60)

    monkeypatch.setattr(decisions, "TIMEOUT_S", 0.05)
    monkeypatch.setattr(key_value, "get", hang)
    known = decisions.NewestDecisions()
    for _ in range(5):
        assert list(await known.of([("a", ("app", "model-a"))])) == []
    assert len(calls) == 1
    gate.set()
