"""A picture of throughput and time to first token over the number of streams, as SVG without any library."""

from collections.abc import Mapping
from html import escape

from loadtests.streams import Figures

WIDTH, HEIGHT, MARGIN = 360, 240, 48
TICK_BELOW = 36
COLOURS = ("#8a94a6", "#2f6fed", "#d9822b")

Sides = Mapping[str, Mapping[int, Figures]]


def picture(sides: Sides) -> str:
    """Return two charts side by side, one line for each side; the streams stand at equal distances."""
    charts = (("tokens per second", "tokens_per_s"), ("time to first token, p50 (ms)", "ttft_ms_p50"))
    parts = [_chart(sides, title, figure, index * (WIDTH + MARGIN)) for index, (title, figure) in enumerate(charts)]
    width, height = 2 * WIDTH + 3 * MARGIN, HEIGHT + 2 * MARGIN
    style = "font: 12px system-ui, sans-serif; fill: #5b6472"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'style="{style}"><rect width="100%" height="100%" fill="white"/>{"".join(parts)}</svg>\n'
    )


def _chart(sides: Sides, title: str, figure: str, left: float) -> str:
    widths = sorted({width for values in sides.values() for width in values})
    top = max((getattr(f, figure) for values in sides.values() for f in values.values()), default=1.0) or 1.0
    step = (WIDTH - MARGIN) / max(1, len(widths) - 1)

    def place(width: int, value: float) -> tuple[float, float]:
        return left + MARGIN + widths.index(width) * step, MARGIN + HEIGHT * (1 - value / top)

    axis = f'<path d="M{left + MARGIN} {MARGIN}v{HEIGHT}h{WIDTH - MARGIN}" fill="none" stroke="#d5d9e0"/>'
    parts = [f'<text x="{left + MARGIN}" y="{MARGIN - 18}" font-weight="600">{escape(title)}</text>', axis]
    parts += [
        f'<text x="{place(width, 0)[0]:.0f}" y="{MARGIN + HEIGHT + TICK_BELOW}" text-anchor="middle">{width}</text>'
        for width in widths
    ]
    highest = {w: max(getattr(v[w], figure) for v in sides.values() if w in v) for w in widths}
    for number, (name, values) in enumerate(sides.items()):
        colour = COLOURS[number % len(COLOURS)]
        points = [place(width, getattr(values[width], figure)) for width in sorted(values)]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>' for x, y in points]
        for width, (x, y) in zip(sorted(values), points, strict=True):
            value = getattr(values[width], figure)
            beside = y - 8 if value == highest[width] else y + 18  # so that figures of lines that run close stay apart
            parts.append(f'<text x="{x:.0f}" y="{beside:.0f}" text-anchor="middle" fill="{colour}">{value:,.0f}</text>')
        parts.append(
            f'<text x="{left + MARGIN + 12}" y="{MARGIN + 14 + 16 * number}" fill="{colour}">{escape(name)}</text>'
        )
    return "".join(parts)
