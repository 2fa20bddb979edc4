"""From the demand to a number of replicas, and the sentence that says why. Pure: all that it remembers is `Memory`.

Up and down have thresholds of their own, so that noise moves nothing back and forth. Up goes by where the demand will
be once a new replica runs. Down goes by the most of two look-back periods: Serve waits for `downscale_delay_s`, and
takes the number that it is given at the end of it. While prompts queue no replica goes, whatever fills the others. One
that does not report counts as full there: it is new, or hangs.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self

from deployments.models.scaling.demand import Cause, Sample, demand, is_queueing, overload, slope, with_sample, work
from deployments.models.scaling.load import Load

FULL = 0.7
"""The load of a replica above which another one is started."""
ROOMY = 0.55
"""The load of the remaining replicas below which one may go. The gap to `FULL` is what noise would have to bridge."""
START_S = 60.0
"""How long a replica takes to start, until that has been seen."""
MAX_START_S = 300.0
LONG_QUEUE = 8
"""Prompts that wait on each replica of which one report is enough: they do not come by chance."""
MAX_RISE = 0.5
"""How much of the demand a trend may add at most."""
LEARNT = 0.3
"""The weight of a new observation in what is learnt of starts."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What Serve reports at one moment; `loads` are those of the replicas that have reported."""

    now: float
    current: int
    """Replicas that run."""
    target: int
    """Replicas that there shall be."""
    loads: Sequence[Load]
    latest: Sequence[Load] = ()
    """The same as of their last reports alone, not averaged over the look-back period."""
    queued: float = 0.0
    """Requests in Serve's handles: every replica has as many as it may, or none runs."""
    look_back_s: float = 30.0

    @property
    def ttft_s(self) -> float:
        """That of the slowest replica."""
        return max((load.ttft_s for load in self.loads), default=0.0)

    @property
    def target_ttft_s(self) -> float:
        """The strictest goal that a replica has, as while it is changed; 0 for none."""
        return min((load.target_ttft_s for load in self.loads if load.target_ttft_s > 0.0), default=0.0)


@dataclass(frozen=True, slots=True)
class Memory:
    """What is kept between two calls."""

    samples: tuple[Sample, ...] = ()
    """The demand of the last minutes."""
    since: float | None = None
    """When the first replica was seen; what it reports is an average over less than the look-back period at first."""
    step_s: float | None = None
    """What a step of the engine costs as such: the least that a replica has reported."""
    start_s: float = START_S
    starting_since: float | None = None
    current: int = 0

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> Self:
        """Return what `kept` returned; nothing where another version has written it."""
        try:
            values: dict[str, Any] = {**state, "samples": tuple(map(tuple, state.get("samples", ())))}
            return cls(**values)
        except (TypeError, ValueError):
            return cls()

    def kept(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


@dataclass(frozen=True, slots=True)
class Verdict:
    """How many replicas there should be, and why; `demand` is how many the load would fill."""

    replicas: int
    cause: Cause
    reason: str
    demand: float
    memory: Memory


def decide(reading: Reading, memory: Memory) -> Verdict:
    """Return the verdict; with no replica running it stays with the target, which Serve raises for a queued request."""
    memory = _learnt(reading, memory)
    if not reading.current or not reading.loads:
        verdict = Verdict(reading.target, "held", _held(reading), 0.0, memory)
        return replace(verdict, memory=replace(memory, samples=(), since=None)) if not reading.current else verdict
    found = demand(reading.loads, reading.queued, memory.step_s)
    memory = _sampled(reading, memory, found.replicas)
    expected = found.replicas + _rise(reading, memory, found.replicas)
    needed, cause = max(_above(expected, FULL), _at_once(reading, memory)), found.cause
    if needed <= reading.current and _is_late(reading):
        needed, cause = reading.current + 1, "ttft"
    if needed > reading.target:
        is_rising = expected > found.replicas and _above(found.replicas, FULL) < needed
        return Verdict(needed, cause, _why(reading, memory, cause, is_rising), found.replicas, memory)
    lately = reading.now - 2 * reading.look_back_s
    most = max([expected, *(value for at, value, _ in memory.samples if at >= lately)])
    silent = max(0, reading.current - len(reading.loads))  # whoever does not report may be full
    enough = _above(most + silent, ROOMY)
    if enough < reading.target and not is_queueing(reading.loads):
        return Verdict(enough, "idle", _why(reading, memory, "idle", False), found.replicas, memory)
    return Verdict(reading.target, cause, _why(reading, memory, cause, False), found.replicas, memory)


def _sampled(reading: Reading, memory: Memory, value: float) -> Memory:
    since = reading.now if memory.since is None else memory.since
    if reading.now - since < reading.look_back_s:
        return replace(memory, since=since)
    latest = demand(reading.latest, reading.queued, memory.step_s).replicas if reading.latest else value
    samples = with_sample(memory.samples, (reading.now, value, latest), reading.look_back_s / 3)
    return replace(memory, since=since, samples=tuple(samples))


def _at_once(reading: Reading, memory: Memory) -> int:
    """Return how many replicas an overload needs, of which the look-back period has seen only a part; 0 without one."""
    is_lasting = is_queueing(reading.loads) or is_queueing(reading.latest, LONG_QUEUE)
    if not reading.latest or not is_lasting or overload(reading.latest) == 1.0:
        return 0
    return _above(demand(reading.latest, reading.queued, memory.step_s).replicas, FULL)


def _rise(reading: Reading, memory: Memory, value: float) -> float:
    """Return how much the demand will have risen once a new replica runs.

    Where prompts queue, their number shows the demand; how fast the queue drains is not a trend.
    """
    if is_queueing(reading.loads):
        return 0.0
    ahead_s = memory.start_s + reading.look_back_s / 2
    return min(max(0.0, slope(memory.samples)) * ahead_s, MAX_RISE * value)


def _above(load: float, threshold: float) -> int:
    """Return how many replicas carry a load without being above the threshold; one for any load at all."""
    return math.ceil(load / threshold - 1e-9)


def _is_late(reading: Reading) -> bool:
    """Whether first tokens miss the goal because prompts queue, more and more of them.

    A replica that misses it without a queue needs no other one, nor does one that works off what it has.
    """
    misses = 0.0 < reading.target_ttft_s < reading.ttft_s
    return misses and is_queueing(reading.loads) and overload(reading.loads) > 1.0


def _learnt(reading: Reading, memory: Memory) -> Memory:
    """Take note of what a step costs, and of how long a replica took from the decision until it ran."""
    steps = [load.step_s for load in reading.loads if load.step_s > 0.0]
    step_s = min([*steps, *([memory.step_s] if memory.step_s else [])], default=None)
    since, start_s = memory.starting_since, memory.start_s
    if since is not None and reading.current > memory.current:
        took_s = min(MAX_START_S, max(0.0, reading.now - since))
        start_s += LEARNT * (took_s - start_s)
        since = None
    if reading.target <= reading.current:
        since = None
    elif since is None:
        since = reading.now
    return replace(memory, step_s=step_s, starting_since=since, start_s=start_s, current=reading.current)


def _held(reading: Reading) -> str:
    return f"{math.ceil(reading.queued)} held" if reading.queued else "no replica runs"


def _why(reading: Reading, memory: Memory, cause: Cause, is_rising: bool) -> str:
    """Return the figures that a decision is about, those first that matter most."""
    loads, count = reading.loads, len(reading.loads)
    waiting = round(sum(load.waiting for load in loads) + reading.queued)
    running, slots = sum(load.running for load in loads), sum(load.max_running for load in loads)
    computing = sum(work(load, memory.step_s) for load in loads) / count if memory.step_s else 0.0
    kv_cache = sum(load.kv_cache for load in loads) / count
    figures = {
        "ttft": f"first token after {reading.ttft_s:.1f} s (goal {reading.target_ttft_s:g} s)",
        "waiting": f"{waiting} waiting" if waiting else "",
        "kv_cache": f"KV cache {kv_cache:.0%}".replace("%", " %") if kv_cache else "",
        "work": f"computing {computing:.0%}".replace("%", " %") if computing else "",
        "requests": f"{round(running)} of {round(slots)} running",
    }
    if cause != "ttft":
        del figures["ttft"]
    named = sorted(figures, key=lambda name: (name != cause, name != "waiting"))
    return ", ".join([figures[name] for name in named if figures[name]] + (["rising"] if is_rising else []))
