"""What the requests of one step amount to."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from loadtests.openloop.sent import Sent
from loadtests.streams import medians

PERCENTILES = (50, 90, 95, 99)
FULL, UNFINISHED = "too many in flight", "unfinished"
OVERLOADED = frozenset({FULL, UNFINISHED, "status 429", "status 503"})
"""Failures that say that there were too many requests."""
KEPT_UP = 0.9
"""Of what was asked for: a service that delivers less falls behind, unless the window is too short for its answers."""
GROWTH = 0.05
"""Seconds by which the wait for the first token grows each second, in a queue that the service cannot keep up with."""
GENERATOR_LATE_MS = 50.0
"""Past this p99 the generator, not the service, may be what is slow."""


@dataclass(frozen=True, slots=True)
class Goal:
    """What counts as in time: of the requests of a step their p95, of one request for the goodput itself."""

    ttft_s: float = 2.0
    tpot_s: float = 0.1

    def is_met_by(self, sent: Sent) -> bool:
        """Whether a request was answered whole and in time; a plain one by the same tokens."""
        if sent.sample.failure:
            return False
        if not sent.is_stream:
            return sent.sample.total_s <= self.ttft_s + self.tpot_s * max(0, sent.sample.tokens - 1)
        return (sent.sample.ttft_s or 0.0) <= self.ttft_s and (sent.tpot_s or 0.0) <= self.tpot_s


Spread = dict[str, float]
"""Milliseconds: mean, p50, p90, p95, p99, max; empty where nothing was measured."""


@dataclass(slots=True)
class Step:
    """One rate, held for a while. Rates are per second of the window, which leaves out how the step began."""

    rate: float
    window_s: float
    began_at: float
    """Unix seconds."""
    ended_at: float
    requests: int
    failures: dict[str, int]
    delivered_per_s: float
    """Requests that were answered whole within the window, whenever they were due."""
    goodput_per_s: float
    """Requests due in the window that were answered whole and in time."""
    output_tokens_per_s: float
    prompt_tokens_per_s: float
    in_flight_mean: float
    ttft_ms: Spread
    tpot_ms: Spread
    itl_ms: Spread
    e2e_ms: Spread
    hops_ms: dict[str, float]
    meets_goal: bool
    is_saturated: bool
    generator_late_ms_p99: float
    generator_cores: float
    was_stopped: bool = False
    ttft_ms_by_model: dict[str, Spread] = field(default_factory=dict[str, Spread])

    def document(self) -> dict[str, Any]:
        """Return it for JSON."""
        return asdict(self)


def step_of(
    every: Sequence[Sent], rate: float, window: tuple[float, float], times: tuple[float, float], goal: Goal,
    cores: float, *, was_stopped: bool,
) -> Step:  # fmt: skip
    """Count what was due within the window; `times` are Unix seconds of the step's beginning and end."""
    began, ended = window
    window_s = max(ended - began, 1e-9)
    due = [sent for sent in every if began <= sent.due < ended]
    good = [sent for sent in due if not sent.sample.failure]
    streams = [sent for sent in good if sent.is_stream]
    ttft = spread(sent.sample.ttft_s for sent in streams)
    tpot = spread(sent.tpot_s for sent in streams)
    delivered = sum(not one.sample.failure and began <= one.due + one.e2e_s < ended for one in every) / window_s
    failures = Counter(sent.sample.failure for sent in due if sent.sample.failure)
    keeps_up = delivered >= KEPT_UP * len(due) / window_s or not _falls_behind(due)
    in_time = (
        bool(good)
        and not failures
        and ttft.get("p95", 0) <= goal.ttft_s * 1e3
        and tpot.get("p95", 0) <= goal.tpot_s * 1e3
    )
    late = spread(sent.late_s for sent in due)
    return Step(
        rate=rate,
        window_s=round(window_s, 2),
        began_at=times[0],
        ended_at=times[1],
        requests=len(due),
        failures=dict(sorted(failures.items())),
        delivered_per_s=round(delivered, 3),
        goodput_per_s=round(sum(goal.is_met_by(sent) for sent in due) / window_s, 3),
        output_tokens_per_s=round(sum(_tokens_within(sent, began, ended) for sent in every) / window_s, 1),
        prompt_tokens_per_s=round(sum(sent.sample.prompt_tokens for sent in good) / window_s, 1),
        in_flight_mean=round(sum(_seconds_within(sent, began, ended) for sent in every) / window_s, 2),
        ttft_ms=ttft,
        tpot_ms=tpot,
        itl_ms=spread(gap for sent in streams for gap in sent.sample.gaps_s),
        e2e_ms=spread(sent.e2e_s for sent in good),
        hops_ms=medians([sent.sample.hops_ms for sent in good if sent.sample.hops_ms]),
        meets_goal=in_time and keeps_up,
        is_saturated=not keeps_up,
        generator_late_ms_p99=late.get("p99", 0.0),
        generator_cores=round(cores, 2),
        was_stopped=was_stopped,
        ttft_ms_by_model={
            model: spread(sent.sample.ttft_s for sent in streams if sent.model == model)
            for model in sorted({sent.model for sent in streams})
        },
    )


def _falls_behind(due: Sequence[Sent]) -> bool:
    """Whether requests waited the longer the later they were due, or were refused or not answered.

    In a queue that grows for as long as the load lasts, the wait grows by `1 - capacity / rate` seconds each second.
    """
    if any(sent.sample.failure in OVERLOADED for sent in due):
        return True
    waits = [(sent.due, sent.sample.ttft_s or sent.e2e_s) for sent in due if not sent.sample.failure]
    return _slope(waits) > GROWTH


def _slope(points: Sequence[tuple[float, float]]) -> float:
    """Return the slope of the line of least squares; 0 for fewer than ten points, by which none is told from noise."""
    if len(points) < 10:
        return 0.0
    x_mean, y_mean = (sum(values) / len(points) for values in zip(*points, strict=True))
    spread_x = sum((x - x_mean) ** 2 for x, _ in points)
    return sum((x - x_mean) * (y - y_mean) for x, y in points) / spread_x if spread_x else 0.0


def _tokens_within(sent: Sent, began: float, ended: float) -> float:
    """Return its tokens, spread evenly from the first to the last, that came within the window."""
    sample = sent.sample
    if sample.failure or not sample.tokens:
        return 0.0
    last = sent.due + sent.e2e_s
    first = sent.due + sample.ttft_s if sample.ttft_s is not None else last
    if last <= first:
        return float(sample.tokens) if began <= last < ended else 0.0
    return sample.tokens * max(0.0, min(last, ended) - max(first, began)) / (last - first)


def _seconds_within(sent: Sent, began: float, ended: float) -> float:
    return max(0.0, min(sent.due + sent.e2e_s, ended) - max(sent.due, began))


def spread(values_s: Iterable[float | None]) -> Spread:
    """Return mean and percentiles of seconds, in milliseconds, interpolated as numpy and `vllm bench serve` do."""
    ordered = sorted(value for value in values_s if value is not None)
    if not ordered:
        return {}
    found = {"mean": sum(ordered) / len(ordered), **{f"p{q}": percentile(ordered, q) for q in PERCENTILES}}
    return {name: round(value * 1e3, 3) for name, value in {**found, "max": ordered[-1]}.items()}


def percentile(ordered: Sequence[float], q: float) -> float:
    """Return the q-th percentile (0..100) of ascending values, interpolated between the two nearest."""
    position = (len(ordered) - 1) * q / 100
    below = int(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (position - below)
