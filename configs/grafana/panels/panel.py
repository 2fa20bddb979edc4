"""A chart of a dashboard, and the queries that several of them share."""

from collections.abc import Sequence
from dataclasses import dataclass

RATE = "[$__rate_interval]"
OF_MODEL = '{model=~"$model"}'
OF_DEPLOYMENT = '{deployment=~"$deployment"}'
OF_SCALED = '{model=~"$deployment"}'
"""The autoscaler calls what it scales `model`, and names it by its deployment."""


@dataclass(frozen=True)
class Panel:
    """A chart. `queries` are pairs of a PromQL expression and its legend."""

    title: str
    description: str
    queries: Sequence[tuple[str, str]]
    unit: str = "short"
    is_stacked: bool = False
    width: int = 8


Row = tuple[str, Sequence[Panel]]


def quantiles(metric: str) -> list[tuple[str, str]]:
    """Return the median and the two quantiles that users notice."""
    rate = f"sum by (le) (rate({metric}_bucket{OF_MODEL}{RATE}))"
    return [(f"histogram_quantile({q}, {rate})", f"p{q * 100:.0f}") for q in (0.5, 0.95, 0.99)]


def share(part: str, whole: str, metric: str) -> str:
    """Return what share the series with the labels `part` have of those with `whole`."""
    return " / ".join(f'sum(rate({metric}{{model=~"$model"{labels}}}{RATE}))' for labels in (part, whole))
