"""Data series of the charts, from the service's metrics: one value per step, None where there is none."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ui.i18n import t
from ui.ops.metrics import Metrics, Point

Values = list[float | None]
TONES = ("good", "cool", "wait", "bad")


@dataclass(frozen=True, slots=True)
class Series:
    """One series of a chart; `tone` names its color in ops.css."""

    name: str
    tone: str
    values: Values

    @property
    def latest(self) -> float | None:
        """The last value there is."""
        return next((value for value in reversed(self.values) if value is not None), None)


def finished(metrics: Metrics) -> list[Point]:
    """Return the steps without the last one, as long as too little of it is over to say how fast it goes."""
    points = metrics.points
    return points[:-1] if points and points[-1].seconds < metrics.step_s / 3 else points


def requests(points: Sequence[Point]) -> list[Series]:
    """Requests per second, by how they ended."""
    return [
        Series(t("Answered"), "good", _per_second(points, lambda point: point.ended_as("2", "3"))),
        Series(t("Client disconnected"), "quiet", _per_second(points, lambda point: point.ended_as("499"))),
        Series(t("Rejected"), "wait", _per_second(points, lambda point: point.ended_as("4") - point.ended_as("499"))),
        Series(t("Failed"), "bad", _per_second(points, lambda point: point.ended_as("5"))),
    ]


def tokens(points: Sequence[Point]) -> list[Series]:
    """Tokens per second of answers."""
    return [
        Series(t("Generated"), "good", _per_second(points, lambda point: point.output_tokens)),
        Series(t("Cached or shared"), "cool", _per_second(points, lambda point: point.reused_tokens)),
    ]


def first_tokens(points: Sequence[Point]) -> list[Series]:
    """Seconds to the first token."""
    return [
        Series(t("Median (p50)"), "good", [point.ttft.p50_s for point in points]),
        Series(t("95th percentile (p95)"), "wait", [point.ttft.p95_s for point in points]),
    ]


def whole_requests(points: Sequence[Point]) -> list[Series]:
    """Seconds that whole requests took."""
    return [
        Series(t("Median (p50)"), "good", [point.duration.p50_s for point in points]),
        Series(t("95th percentile (p95)"), "wait", [point.duration.p95_s for point in points]),
    ]


def reuse(points: Sequence[Point]) -> list[Series]:
    """Shares of the requests that may be answered from the cache, in percent."""
    named = (("HIT", t("Hits"), "good"), ("JOIN", t("Joined"), "cool"), ("MISS", t("Misses"), "quiet"))
    return [
        Series(name, tone, [None if (of := share(point.cache, result)) is None else of * 100 for point in points])
        for result, name, tone in named
    ]


def in_flight(points: Sequence[Point]) -> list[Series]:
    """Requests at once."""
    return [Series(t("Concurrent"), "cool", [float(point.in_flight) for point in points])]


def replicas(points: Sequence[Point]) -> list[Series]:
    """Replicas of each model."""
    return _by_model([point.replicas for point in points])


def queued(points: Sequence[Point]) -> list[Series]:
    """Requests that waited for each model."""
    return _by_model([point.queued for point in points])


def _by_model(counts: Sequence[dict[str, int]]) -> list[Series]:
    """Return a series of each model; past the number of colors, those with the least are added up."""
    most = {name: max(count.get(name, 0) for count in counts) for count in counts for name in count}
    names = sorted(most, key=lambda name: (-most[name], name))
    shown, others = names[: len(TONES)], names[len(TONES) :]
    series = [Series(name, tone, _sums(counts, (name,))) for name, tone in zip(shown, TONES, strict=False)]
    return [*series, Series(t("Other models"), "quiet", _sums(counts, others))] if others else series


def _sums(counts: Sequence[dict[str, int]], names: Sequence[str]) -> Values:
    return [float(sum(count.get(each, 0) for each in names)) if count else None for count in counts]


def share(results: dict[str, int], result: str) -> float | None:
    """Return the share of a result among requests that the cache is asked for; None if there are none."""
    lookups = sum(results.get(each, 0) for each in ("HIT", "JOIN", "MISS"))
    return results.get(result, 0) / lookups if lookups else None


def _per_second(points: Sequence[Point], count: Callable[[Point], int]) -> Values:
    return [count(point) / max(1.0, point.seconds) for point in points]
