"""What was watched while the load ran, over time."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from loadtests.openloop.charts import Chart, Line, Point

Document = dict[str, Any]
TIME = "seconds since the load began"
MOST_DEPLOYMENTS = 4
QUEUES = {
    "running": "running in engines",
    "waiting": "waiting in engines",
    "queued": "queued by Serve",
    "in_flight": "in the ingress",
}
GPUS = (
    ("GPU utilization", "utilization.gpu", "%"),
    ("GPU memory", "memory.used", "MiB"),
    ("GPU power", "power.draw", "W"),
)


def over_time(watched: Sequence[Document], steps: Sequence[Document]) -> Iterator[Chart]:
    """Yield the charts; those of which nothing is known have no points."""
    origin = watched[0]["at"] if watched else 0.0
    begun = [(max(0.0, step["began_at"] - origin), f"{step['rate']:g} requests/s from here") for step in steps]
    decided = list(_decisions(watched, origin))
    yield Chart("Replicas", "dotted: decisions", TIME, _replicas(watched, origin), marks=decided)
    queues = [
        Line(name, _series(watched, origin, lambda point, key=key: point.get(key)), f"c{index}", True)
        for index, (key, name) in enumerate(QUEUES.items())
    ]
    yield Chart("Requests inside", "dotted: steps", TIME, queues, marks=begun)
    in_use = _series(watched, origin, lambda point: point["kv_cache"] * 100 if "kv_cache" in point else None)
    yield Chart("KV cache in use", "%", TIME, [Line("mean over replicas", in_use, "c0", True)], marks=begun)
    count = max((len(point.get("gpus", [])) for point in watched), default=0)
    for title, field, unit in GPUS:
        series = [_series(watched, origin, lambda point, n=n, field=field: _gpu(point, n, field)) for n in range(count)]
        lines = [Line(f"GPU {n}", points, f"c{n % 6}", True) for n, points in enumerate(series)]
        yield Chart(title, unit, TIME, lines, marks=begun)


def _series(watched: Sequence[Document], origin: float, pick: Callable[[Document], float | None]) -> list[Point]:
    return [(point["at"] - origin, value) for point in watched if (value := pick(point)) is not None]


def _replicas(watched: Sequence[Document], origin: float) -> list[Line]:
    found = dict.fromkeys(name for point in watched for name in point.get("replicas", {}))
    names = sorted(found, key=lambda name: not name.startswith("model-"))[:MOST_DEPLOYMENTS]
    lines: list[Line] = []
    for index, name in enumerate(names):
        for state, style in (("running", f"c{index}"), ("target", f"c{index} dashed")):
            points = _series(watched, origin, lambda point, name=name, state=state: _count(point, name, state))
            lines.append(Line(f"{name}, {state}", points, style, True))
    return lines


def _count(point: Document, name: str, state: str) -> float | None:
    return point["replicas"].get(name, {}).get(state, 0) if "replicas" in point else None


def _gpu(point: Document, number: int, field: str) -> float | None:
    gpus = point.get("gpus", [])
    return gpus[number].get(field) if number < len(gpus) else None


def _decisions(watched: Sequence[Document], origin: float) -> Iterator[tuple[float, str]]:
    """Yield when the autoscaler was first seen to have decided again, and what."""
    known: dict[str, float] = {}
    for number, point in enumerate(watched):
        for text, count in point.get("decisions", {}).items():
            if number and count > known.get(text, 0.0):
                yield point["at"] - origin, text
            known[text] = count
