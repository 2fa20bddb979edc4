"""Charts as SVG: a few paths, stretched to the available width. Colors are defined in ops.css."""

import math
from collections.abc import Sequence

from ui.ops.series import Series, Values

WIDTH, HEIGHT = 600.0, 150.0
FILLED = 0.76
"""How much of a step's width its column takes."""


def nice_top(highest: float) -> float:
    """Return a round number that is not below `highest`; 1 where there is nothing to show."""
    if highest <= 0:
        return 1.0
    scale = 10.0 ** math.floor(math.log10(highest))
    return next(factor * scale for factor in (1, 2, 3, 4, 5, 6, 8, 10) if factor * scale >= highest * 0.9999)


def highest(series: Sequence[Series], *, is_stacked: bool) -> float:
    """Return the highest value, or the highest sum of a step."""
    steps = zip(*(each.values for each in series), strict=True)
    add = sum if is_stacked else max
    return max((add(value or 0.0 for value in step) for step in steps), default=0.0)


def columns(series: Sequence[Series], top: float) -> str:
    """Return columns, the first series at the bottom."""
    count = max((len(each.values) for each in series), default=0)
    base = [0.0] * count
    paths: list[str] = []
    for each in series:
        parts: list[str] = []
        for at, value in enumerate(each.values):
            if value:
                x, width = WIDTH * (at + (1 - FILLED) / 2) / count, WIDTH * FILLED / count
                y, height = _y(base[at] + value, top), HEIGHT * value / top
                parts.append(f"M{x:.1f} {y:.1f}h{width:.1f}v{height:.1f}h{-width:.1f}z")
                base[at] += value
        paths.append(f'<path class="column {each.tone}" d="{"".join(parts)}"/>')
    return _svg(paths)


def lines(series: Sequence[Series], top: float) -> str:
    """Return lines; where a step has no value there is a gap, and a value alone is a dot."""
    return _svg([f'<path class="line {each.tone}" d="{_line(each.values, top)}"/>' for each in series])


def area(series: Series, top: float) -> str:
    """Return the filled area under one series, in steps."""
    count = len(series.values)
    edge = "".join(
        f"L{WIDTH * at / count:.1f} {_y(value or 0.0, top):.1f}H{WIDTH * (at + 1) / count:.1f}"
        for at, value in enumerate(series.values)
    )
    return _svg([f'<path class="area {series.tone}" d="M0 {HEIGHT:.0f}{edge}V{HEIGHT:.0f}z"/>'])


def _line(values: Values, top: float) -> str:
    parts: list[str] = []
    is_drawing = False
    for at, value in enumerate(values):
        if value is not None:
            x, y = WIDTH * (at + 0.5) / len(values), _y(value, top)
            # The short way to itself makes a dot of a point that stays alone.
            parts.append(f"L{x:.1f} {y:.1f}" if is_drawing else f"M{x:.1f} {y:.1f}h.01")
        is_drawing = value is not None
    return "".join(parts)


def _y(value: float, top: float) -> float:
    return HEIGHT * (1 - min(1.0, value / top))


def _svg(paths: Sequence[str]) -> str:
    # For the text of the chart, see its figure: what is stretched here would be stretched as well.
    grid = f'<path class="grid" d="M0 .5H{WIDTH:.0f}M0 {HEIGHT / 2:.1f}H{WIDTH:.0f}M0 {HEIGHT - 0.5}H{WIDTH:.0f}"/>'
    return (
        f'<svg viewBox="0 0 {WIDTH:.0f} {HEIGHT:.0f}" preserveAspectRatio="none" aria-hidden="true" '
        f'focusable="false">{grid}{"".join(paths)}</svg>'
    )
