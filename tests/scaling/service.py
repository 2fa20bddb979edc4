"""Replicas behind a policy, as Serve runs it: its own wrapper, its intervals, and a clock that the simulation sets."""

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

from ray.serve._private.common import TimeStampedValue
from ray.serve.autoscaling_policy import _apply_autoscaling_config  # pyright: ignore[reportPrivateUsage]
from ray.serve.config import AutoscalingConfig, AutoscalingContext

from deployments.models.scaling.load import Load, Rates
from tests.scaling.engine import MAX_RUNNING, MAX_TOKENS, STEP_S, WRITE_S, Engine, Request
from tests.scaling.traces import Trace

TICK_S = 1.0
DECIDE_S = 1.0
PUSH_S = 10.0
"""Serve's `metrics_interval_s`."""
START_S = 60.0
"""From the decision to a replica that answers."""
Policy = Callable[[AutoscalingContext], tuple[float, dict[str, Any]]]


class Replica:
    """An engine, and what Serve's controller knows of it."""

    def __init__(self, began: float, ready: float, goal_s: float, noise: Callable[[], float]) -> None:
        self.engine = Engine()
        self.began, self.ready = began, ready
        self.is_stopping = False
        self.told: dict[str, float] = {}
        self.last: dict[str, float] = {}
        self._goal_s, self._noise = goal_s, noise
        self._rates = Rates()
        self._recorded: deque[tuple[float, dict[str, float]]] = deque()
        self._record_at = self._push_at = ready

    def report(self, now: float, look_back_s: float) -> None:
        """Record and push when it is time, as Serve's replica does."""
        if now >= self._record_at:
            self._recorded.append((now, self._load(now).reported() | {"ongoing": self.engine.ongoing * self._noise()}))
            self._record_at += min(look_back_s / 5, PUSH_S)
        if now >= self._push_at:
            while self._recorded and self._recorded[0][0] < now - look_back_s:
                self._recorded.popleft()
            self.last = self._recorded[-1][1]
            samples = [load for _, load in self._recorded]
            self.told = {name: sum(each[name] for each in samples) / len(samples) for name in samples[0]}
            self._push_at += PUSH_S

    def _load(self, now: float) -> Load:
        engine, noise = self.engine, self._noise
        first, engine.first_tokens = engine.first_tokens, []
        oldest_s = now - engine.waiting[0].arrived if engine.waiting else 0.0
        rate = self._rates.since_last(now, engine.busy_s, engine.steps, engine.read_tokens, engine.waiting_tokens)
        return Load(
            running=engine.running * noise(),
            waiting=len(engine.waiting) * noise(),
            max_running=MAX_RUNNING,
            kv_cache=engine.tokens / MAX_TOKENS * noise(),
            busy=min(1.0, rate.busy * noise()),
            steps_per_s=rate.steps_per_s * noise(),
            step_s=STEP_S + WRITE_S,
            asked_tokens_per_s=rate.asked_tokens_per_s * noise(),
            read_tokens_per_s=rate.read_tokens_per_s * noise(),
            ttft_s=max(oldest_s, sum(first) / len(first) if first else 0.0) * noise(),
            target_ttft_s=self._goal_s,
        )


@dataclass(slots=True)
class Run:
    """What came of it."""

    requests: list[Request] = field(default_factory=list[Request])
    replica_s: float = 0.0
    targets: list[tuple[float, int]] = field(default_factory=list[tuple[float, int]])
    """When the target changed, and to what."""
    states: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    """The policy's state at each of these changes, before it."""


def simulate(
    policy: Policy,
    config: AutoscalingConfig,
    trace: Trace,
    goal_s: float = 1.0,
    noise: float = 0.0,
    seed: int = 1,
    replicas: int = 1,
) -> Run:
    """Run a trace against a policy; `noise` is how far what replicas report is off, at random (0.2: 20 %)."""
    chance = random.Random(seed)

    def off() -> float:
        return 1.0 + chance.uniform(-noise, noise) if noise else 1.0

    def new(began: float, ready: float) -> Replica:
        return Replica(began, ready, goal_s, off)

    with patch("ray.serve.autoscaling_policy.time") as clock:
        return _run(policy, config, trace, seed, chance, clock, new, replicas)


def _run(
    policy: Policy,
    config: AutoscalingConfig,
    trace: Trace,
    seed: int,
    chance: random.Random,
    clock: Any,
    new: Callable[[float, float], Replica],
    count: int,
) -> Run:
    decide = _apply_autoscaling_config(policy)  # pyright: ignore[reportArgumentType]
    run, arrivals = Run(), trace.requests(seed)
    upcoming = next(arrivals, None)
    fleet = [new(0.0, 0.0) for _ in range(count)]
    now, decide_at, target, state = 0.0, 0.0, count, dict[str, Any]()
    last_up = last_down = None
    while now < trace.seconds:
        ready = [one for one in fleet if one.ready <= now and not one.is_stopping]
        while upcoming is not None and upcoming.arrived < now + TICK_S:
            _least_of_two(ready, chance).engine.add(upcoming)
            run.requests.append(upcoming)
            upcoming = next(arrivals, None)
        for one in fleet:
            if one.ready <= now:
                one.engine.advance(now, TICK_S)
                one.report(now + TICK_S, config.look_back_period_s)
        run.replica_s += TICK_S * len(fleet)
        fleet = [one for one in fleet if not (one.is_stopping and not one.engine.ongoing)]
        now += TICK_S
        if now < decide_at:
            continue
        decide_at += DECIDE_S
        clock.time.return_value = now
        running = [one for one in fleet if one.ready <= now and not one.is_stopping]
        wanted, after = decide(_context(config, running, target, state, now, last_up, last_down))
        wanted = max(config.min_replicas, min(config.max_replicas, int(-(-wanted // 1))))
        if wanted != target:
            run.targets.append((now, wanted))
            run.states.append(after)
            last_up, last_down = (now, last_down) if wanted > target else (last_up, now)
            _resize(fleet, wanted, now, new)
        target, state = wanted, after
    return run


def _least_of_two(ready: list[Replica], chance: random.Random) -> Replica:
    """Return the less busy of two, as Serve's router does."""
    first, second = chance.choice(ready), chance.choice(ready)
    return min(first, second, key=lambda one: one.engine.ongoing)


def _resize(fleet: list[Replica], target: int, now: float, new: Callable[[float, float], Replica]) -> None:
    staying = [one for one in fleet if not one.is_stopping]
    fleet += [new(now, now + START_S) for _ in range(target - len(staying))]
    for one in sorted(staying, key=lambda each: -each.began)[: max(0, len(staying) - target)]:
        one.is_stopping = True


def _context(
    config: AutoscalingConfig,
    running: list[Replica],
    target: int,
    state: dict[str, Any],
    now: float,
    last_up: float | None,
    last_down: float | None,
) -> AutoscalingContext:
    told = {number: one.told for number, one in enumerate(running) if one.told}
    names = next(iter(told.values()), {})
    metrics: Any = {name: {number: each[name] for number, each in told.items()} for name in names}
    last = {number: one.last for number, one in enumerate(running) if one.told}
    raw: Any = {name: {number: [TimeStampedValue(now, each[name])] for number, each in last.items()} for name in names}
    return AutoscalingContext(
        deployment_id=None,  # type: ignore[arg-type]
        deployment_name="model",
        app_name="model",
        current_num_replicas=len(running),
        target_num_replicas=target,
        running_replicas=list(range(len(running))),  # type: ignore[arg-type]
        total_num_requests=sum(metrics.get("ongoing", {}).values()),
        total_queued_requests=0.0,
        aggregated_metrics=metrics,
        raw_metrics=raw,
        capacity_adjusted_min_replicas=config.min_replicas,
        capacity_adjusted_max_replicas=config.max_replicas,
        policy_state=state,
        last_scale_up_time=last_up,
        last_scale_down_time=last_down,
        current_time=now,
        config=config,
    )
