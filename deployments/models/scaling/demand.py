"""The load of a deployment in units of what one replica can hold, and whether it rises.

Three things bound an engine: its places for sequences (`max_num_seqs`), its KV cache, and the time that it computes.
The last is the share of time beyond what the steps cost as such. In a step of `step_s + n x w` seconds for `n`
sequences, `n x w` is their own; so it grows in proportion to what is asked for, while the number of sequences that run
grows the faster the slower they get. None of the three says by how much too much is asked for: of prompts that queue,
the ratio of those that arrive to those that are read does. What queues already is none of its own: a replica that
starts does not get it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from deployments.models.scaling.load import Load

Cause = Literal["requests", "kv_cache", "work", "ttft", "bounds", "held", "idle"]
"""What a decision is about; `work` is computing."""

MAX_WORK = 0.85
"""The share of its time that a full engine has for the sequences themselves; tokens come at a sixth of the speed."""
MAX_OVERLOAD = 4.0
TREND_S = 180.0
"""Seconds of the past over which a trend is told from noise."""
SIGNIFICANT = 3.0
"""How many standard errors a slope must have to count; below lies what chance makes."""
MIN_SAMPLES = 10

Sample = tuple[float, float, float]
"""A time in seconds, the demand on average over the look-back period, and that of the last reports alone."""


@dataclass(frozen=True, slots=True)
class Demand:
    """How many replicas would be full with what there is: the largest of what bounds them, and which that is."""

    replicas: float
    cause: Cause


def demand(loads: Sequence[Load], queued: float, step_s: float | None) -> Demand:
    """Return the demand of replicas with these loads, each an average over the look-back period.

    `queued` requests are at no replica yet: they are taken to be like those that run. `step_s` is what a step costs as
    such, None while that is not known.
    """
    running, waiting = sum(load.running for load in loads), sum(load.waiting for load in loads)
    slots = sum(load.max_running for load in loads) / len(loads)
    factor = overload(loads)
    if running + waiting:
        factor *= 1.0 + queued / (running + waiting)
    by_cause: dict[Cause, float] = {
        "requests": (running * factor / slots) if slots else 0.0,
        "kv_cache": sum(load.kv_cache for load in loads) * factor,
        "work": sum(work(load, step_s) for load in loads) / MAX_WORK * factor if step_s else 0.0,
    }
    cause = max(by_cause, key=lambda name: by_cause[name])
    return Demand(by_cause[cause], cause)


def work(load: Load, step_s: float) -> float:
    """Return the share of time that a replica computes for its sequences."""
    return min(1.0, max(0.0, load.busy - step_s * load.steps_per_s))


def overload(loads: Sequence[Load]) -> float:
    """Return how many times more prompts arrive than are read, where they queue; else 1."""
    asked, read = sum(load.asked_tokens_per_s for load in loads), sum(load.read_tokens_per_s for load in loads)
    if not is_queueing(loads) or asked <= read:
        return 1.0
    return min(MAX_OVERLOAD, asked / read) if read else MAX_OVERLOAD


def is_queueing(loads: Sequence[Load], each: int = 1) -> bool:
    """Whether prompts wait for each other: on average each replica has more of them than `each`."""
    return sum(load.waiting for load in loads) > each * len(loads)


def with_sample(samples: Sequence[Sample], sample: Sample, every_s: float) -> list[Sample]:
    """Return the samples of the last `TREND_S` seconds, with this one if the last is `every_s` seconds old."""
    now = sample[0]
    kept = [each for each in samples if now - TREND_S <= each[0] <= now]
    return kept if kept and now - kept[-1][0] < every_s else [*kept, sample]


def slope(samples: Sequence[Sample]) -> float:
    """Return how much the demand changes per second, as far as that is certain; 0 where it may be noise.

    The least-squares slope of the last reports, whose noise is independent, less `SIGNIFICANT` times its standard
    error, towards zero.
    """
    count = len(samples)
    if count < MIN_SAMPLES:
        return 0.0
    mean_t = sum(at for at, _, _ in samples) / count
    mean_v = sum(value for _, _, value in samples) / count
    spread = sum((at - mean_t) ** 2 for at, _, _ in samples)
    if spread <= 0.0:
        return 0.0
    steepness = sum((at - mean_t) * (value - mean_v) for at, _, value in samples) / spread
    rest = sum((value - mean_v - steepness * (at - mean_t)) ** 2 for at, _, value in samples)
    error = math.sqrt(rest / (count - 2) / spread)
    certain = abs(steepness) - SIGNIFICANT * error
    return math.copysign(certain, steepness) if certain > 0.0 else 0.0
