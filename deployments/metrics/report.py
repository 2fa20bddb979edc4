"""What all replicas have seen, added up over the same time."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import msgspec

from deployments.metrics.buckets import BUCKET_S, Bucket, Counts, unpack
from deployments.metrics.faults import Fault, newest
from deployments.metrics.faults import unpack as unpack_faults
from deployments.metrics.queues import Waiting
from deployments.metrics.store import ReplicaFigures

LIVE_S = 15.0
"""A replica that has published within this time is there."""


@dataclass(slots=True)
class Point:
    """The sums of one step of time; `peak` is the most requests at once, of all replicas together at most.

    `replicas` are those of each model, the most that any ingress replica saw; `waiting` are the requests in its queue,
    the most of all ingress replicas together at most.
    """

    start: float
    counts: Counts = field(default_factory=Counts)
    peak: int = 0
    replicas: dict[str, int] = field(default_factory=dict[str, int])
    waiting: Counter[str] = field(default_factory=Counter[str])


@dataclass(frozen=True, slots=True)
class Presence:
    """A replica as it was last seen."""

    id: str
    began_at: float
    seen_s_ago: float
    running: int

    @property
    def is_there(self) -> bool:
        return self.seen_s_ago <= LIVE_S


@dataclass(frozen=True, slots=True)
class Report:
    """The figures of a time; `is_whole` is false where some could not be read.

    `queues` has what waits now, by model and priority.
    """

    points: list[Point]
    models: dict[str, Counts]
    total: Counts
    replicas: list[Presence]
    faults: list[Fault]
    queues: dict[str, dict[str, Waiting]]
    is_whole: bool


def starts(now: float, window_s: int, step_s: int) -> list[float]:
    """Return where the steps of the last `window_s` begin: at multiples of their length, the last one not over yet."""
    last = now // step_s * step_s
    return [last - step_s * back for back in reversed(range(window_s // step_s))]


def added_up(replicas: Sequence[ReplicaFigures], now: float, window_s: int, step_s: int) -> Report:
    """Add up what replicas have left. CPU time grows with replicas, models and time: some 10 µs a bucket."""
    points = [Point(start) for start in starts(now, window_s, step_s)]
    models: dict[str, Counts] = {}
    faults: list[Fault] = []
    is_whole = True
    for replica in replicas:
        try:
            buckets = [unpack(packed) for packed in replica.buckets]
            faults += _placed(unpack_faults(replica.faults) if replica.faults else (), replica.offset_s)
        except msgspec.DecodeError:
            is_whole = False
            continue
        peaks = [0] * len(points)
        waiting = [Counter[str]() for _ in points]
        for at, bucket in _within(buckets, replica.offset_s, points[0].start, step_s, len(points)):
            peaks[at] = max(peaks[at], bucket.peak)
            for model, count in bucket.replicas.items():
                points[at].replicas[model] = max(count, points[at].replicas.get(model, 0))
            waiting[at] |= Counter(bucket.waiting)
            for model, counts in bucket.models.items():
                points[at].counts.add(counts)
                models.setdefault(model, Counts()).add(counts)
        for point, peak, most in zip(points, peaks, waiting, strict=True):
            point.peak += peak
            point.waiting += most
    total = Counts()
    for counts in models.values():
        total.add(counts)
    recent = newest(fault for fault in faults if fault.at >= points[0].start)
    return Report(points, models, total, _presences(replicas, now), recent, _queues(replicas, now), is_whole)


def _within(
    buckets: Iterable[Bucket], offset_s: float, start: float, step_s: int, steps: int
) -> Iterator[tuple[int, Bucket]]:
    """Yield the buckets of the time, each with the step that its middle lies in."""
    for bucket in buckets:
        middle = (bucket.number + 0.5) * BUCKET_S + offset_s
        at = int((middle - start) // step_s)
        # The present one's middle may lie ahead, in a step that has not begun.
        if at == steps and middle - start < steps * step_s + BUCKET_S:
            at -= 1
        if 0 <= at < steps:
            yield at, bucket


def _placed(faults: Iterable[Fault], offset_s: float) -> Iterator[Fault]:
    return (msgspec.structs.replace(fault, at=fault.at + offset_s) for fault in faults)


def _queues(replicas: Iterable[ReplicaFigures], now: float) -> dict[str, dict[str, Waiting]]:
    """Return what waits in all replicas that are there."""
    queues: dict[str, dict[str, Waiting]] = {}
    for replica in replicas:
        for model, by_priority in replica.state.queues.items() if now - replica.seen_at <= LIVE_S else ():
            found = queues.setdefault(model, {})
            for priority, waiting in by_priority.items():
                found[priority] = found.get(priority, Waiting()) + waiting
    return queues


def _presences(replicas: Iterable[ReplicaFigures], now: float) -> list[Presence]:
    """Return the replicas, those that are there first."""
    found = [
        Presence(
            replica.id,
            replica.state.began_at + replica.offset_s,
            max(0.0, now - replica.seen_at),
            replica.state.running,
        )
        for replica in replicas
    ]
    return sorted(found, key=lambda presence: (not presence.is_there, presence.began_at))
