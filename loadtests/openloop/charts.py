"""Line charts as SVG, coloured by the page's style sheet: light or dark, as the reader's system is."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 460, 250
LEFT, RIGHT, TOP, BOTTOM = 56, 16, 14, 40

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Line:
    """One line: `style` is a class of the style sheet, c0 to c5, with `dashed` for an earlier report."""

    name: str
    points: Sequence[Point]
    style: str
    is_step: bool = False


@dataclass(frozen=True, slots=True)
class Chart:
    """What a chart shows; `marks` are vertical lines with a text each, `goal` is a horizontal one."""

    title: str
    unit: str
    across: str
    lines: Sequence[Line]
    is_log: bool = False
    is_log_across: bool = False
    goal: float | None = None
    marks: Sequence[tuple[float, str]] = ()


def figure(chart: Chart) -> str:
    """Return the chart with title and legend, or nothing if it has no point."""
    lines = [line for line in chart.lines if line.points]
    if not lines:
        return ""
    legend = "".join(f'<span><i class="{line.style}"></i>{escape(line.name)}</span>' for line in lines)
    unit = f" <small>{escape(chart.unit)}</small>" if chart.unit else ""
    return (
        f"<figure><figcaption>{escape(chart.title)}{unit}</figcaption>{_svg(chart, lines)}"
        f'<div class="legend">{legend}</div></figure>'
    )


class _Scale:
    """From values to places between `begin` and `end`."""

    def __init__(self, values: Sequence[float], begin: float, end: float, is_log: bool, from_zero: bool) -> None:
        self.is_log = is_log and min(values) > 0
        low, high = min(values), max(values)
        if self.is_log:
            self.low, self.high = math.log10(low) - 0.03, max(math.log10(high) + 0.03, math.log10(low) + 0.3)
        else:
            self.low = 0.0 if from_zero else low
            self.high = high if high > self.low else self.low + 1
            self.high += (self.high - self.low) * (0.06 if from_zero else 0)
        self._begin, self._end = begin, end

    def at(self, value: float) -> float:
        place = math.log10(value) if self.is_log else value
        return self._begin + (place - self.low) / (self.high - self.low) * (self._end - self._begin)

    def ticks(self) -> list[float]:
        if self.is_log:
            wide = self.high - self.low > 2.2
            steps = (1,) if wide else (1, 2, 5)
            powers = range(math.floor(self.low), math.ceil(self.high) + 1)
            return [n * 10.0**p for p in powers for n in steps if self.low <= math.log10(n * 10.0**p) <= self.high]
        step = 10 ** math.floor(math.log10((self.high - self.low) / 2))
        step = next(step * n for n in (0.5, 1, 2, 5, 10) if (self.high - self.low) / (step * n) <= 6)
        first = math.ceil(self.low / step - 1e-9)
        return [n * step for n in range(first, math.floor(self.high / step + 1e-9) + 1)]


def _svg(chart: Chart, lines: Sequence[Line]) -> str:
    every = [point for line in lines for point in line.points]
    values = [y for _, y in every] + ([chart.goal] if chart.goal else [])
    xs = [x for x, _ in every]
    across = _Scale(xs, LEFT, WIDTH - RIGHT, chart.is_log_across, False)
    up = _Scale(
        [value for value in values if value > 0 or not chart.is_log] or [1.0], HEIGHT - BOTTOM, TOP, chart.is_log, True
    )
    parts = [_grid(up, across)]
    if chart.goal:
        y = up.at(chart.goal)
        parts.append(f'<line class="goal" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="goal" x="{WIDTH - RIGHT}" y="{y - 4:.1f}" text-anchor="end">goal</text>')
    for x, text in chart.marks:
        parts.append(
            f'<g class="mark"><line x1="{across.at(x):.1f}" x2="{across.at(x):.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>'
            f"<title>{escape(text)}</title></g>"
        )
    parts += [_line(line, across, up, chart) for line in lines]
    parts.append(
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 6}" text-anchor="middle">{escape(chart.across)}</text>'
    )
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(chart.title)}">{"".join(parts)}</svg>'


def _grid(up: _Scale, across: _Scale) -> str:
    parts = [f'<path class="axis" d="M{LEFT} {TOP}V{HEIGHT - BOTTOM}H{WIDTH - RIGHT}"/>']
    for tick in up.ticks():
        y = up.at(tick)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{short(tick)}</text>')
    parts += [
        f'<text x="{across.at(tick):.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{short(tick)}</text>'
        for tick in across.ticks()
    ]
    return "".join(parts)


def _line(line: Line, across: _Scale, up: _Scale, chart: Chart) -> str:
    placed = [(across.at(x), up.at(y), x, y) for x, y in line.points if y > 0 or not up.is_log]
    if not placed:
        return ""
    path = f"M{placed[0][0]:.1f} {placed[0][1]:.1f}"
    for x, y, *_ in placed[1:]:
        path += f"H{x:.1f}V{y:.1f}" if line.is_step else f"L{x:.1f} {y:.1f}"
    dots = "" if line.is_step else "".join(_dot(line, chart, *point) for point in placed)
    return f'<path class="line {line.style}" d="{path}"/>{dots}'


def _dot(line: Line, chart: Chart, px: float, py: float, x: float, y: float) -> str:
    tooltip = f"{line.name} at {short(x)}: {short(y)} {chart.unit}"
    return f'<circle class="{line.style}" cx="{px:.1f}" cy="{py:.1f}" r="3.2"><title>{escape(tooltip)}</title></circle>'


def short(value: float) -> str:
    """Return a number as an axis has it: 0.5, 12, 3.4k."""
    if abs(value) >= 10_000:
        return f"{value / 1000:,.0f}k"
    if abs(value) >= 1000:
        return f"{value / 1000:.3g}k"
    return f"{value:.3g}"
