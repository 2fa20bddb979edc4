"""Draws the first tokens of two keys, without the queue and behind it: `python -m tests.overload.picture`."""

from collections.abc import Sequence
from math import log10
from pathlib import Path

from tests.overload.engine import Asked
from tests.overload.flood import SECONDS, WITHOUT_QUEUE, Flooded
from tests.scaling.engine import MAX_RUNNING

FILE = Path(__file__).parents[2] / "docs/assets/fairness.svg"
WIDTH, HEIGHT, MARGIN = 360, 220, 48
TOP_MS, LEAST_MS = 10_000.0, 10.0
FLOOD, LIGHT = "#c3cad6", "#2f6fed"
TITLES = ("without the queue", "behind it")


def picture() -> str:
    """Return both charts side by side; time to the first token on a logarithmic scale, as they asked."""
    width, height = 2 * WIDTH + 3 * MARGIN, HEIGHT + 2 * MARGIN
    parts = [_chart(title, run, at) for at, (title, run) in enumerate(zip(TITLES, _runs(), strict=True))]
    style = "font: 12px system-ui, sans-serif; fill: #5b6472"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'style="{style}"><rect width="100%" height="100%" fill="white"/>{"".join(parts)}</svg>\n'
    )


def _runs() -> list[list[Asked]]:
    runs = [Flooded(512, capacity) for capacity in (WITHOUT_QUEUE, MAX_RUNNING)]
    for run in runs:
        run.figures()
    return [run.asked for run in runs]


def _chart(title: str, asked: Sequence[Asked], index: int) -> str:
    left = index * (WIDTH + MARGIN) + MARGIN
    axis = f'<path d="M{left} {MARGIN}v{HEIGHT}h{WIDTH - MARGIN}" fill="none" stroke="#d5d9e0"/>'
    parts = [f'<text x="{left}" y="{MARGIN - 18}" font-weight="600">First token, {title}</text>', axis]
    for ms, label in ((10.0, "10 ms"), (100.0, "100 ms"), (1_000.0, "1 s"), (10_000.0, "10 s")):
        parts.append(f'<text x="{left - 6}" y="{_height(ms) + 4:.0f}" text-anchor="end">{label}</text>')
    ends = ((SECONDS / 4, f"{SECONDS / 4:.0f} s"), (SECONDS, f"{SECONDS:.0f} s"))
    parts += [
        f'<text x="{left + _x(at):.0f}" y="{MARGIN + HEIGHT + 18}" text-anchor="middle">{t}</text>' for at, t in ends
    ]
    for key, colour, every, radius in (("flood", FLOOD, 6, 1.5), ("light", LIGHT, 1, 2.5)):
        mine = [one for one in asked if one.job.key_id == key and one.arrived >= SECONDS / 4][::every]
        shown = [(one.arrived, one.request.ttft_s * 1000) for one in mine if one.request and one.request.ttft_s]
        parts += [
            f'<circle cx="{left + _x(at):.1f}" cy="{_height(ms):.1f}" r="{radius}" fill="{colour}"/>'
            for at, ms in shown
        ]
    names = (("512 streams of one key", "#8a94a6"), ("another key, once a second", LIGHT))
    at = 40 if index else HEIGHT - 40
    parts += [
        f'<text x="{left + 12}" y="{MARGIN + at + 16 * n}" fill="{c}">{name}</text>'
        for n, (name, c) in enumerate(names)
    ]
    return "".join(parts)


def _x(at: float) -> float:
    return (WIDTH - MARGIN) * (at - SECONDS / 4) / (SECONDS * 3 / 4)


def _height(ms: float) -> float:
    share = (log10(max(LEAST_MS, min(ms, TOP_MS))) - log10(LEAST_MS)) / (log10(TOP_MS) - log10(LEAST_MS))
    return MARGIN + HEIGHT * (1 - share)


if __name__ == "__main__":
    FILE.write_text(picture())
