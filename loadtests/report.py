"""The outcome of a comparison: a table, a JSON file and a picture."""

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median as middle
from typing import Any

from loadtests.machine import described
from loadtests.plot import picture
from loadtests.sides import Processes
from loadtests.streams import Figures, Target, median


@dataclass(slots=True)
class Side:
    """One of the two that are compared, and what was measured of it."""

    target: Target
    processes: Processes | None = None
    ready_s: float | None = None
    """Seconds from its start to the first token."""
    rounds: dict[int, list[Figures]] = field(default_factory=dict[int, list[Figures]])
    short: list[Figures] = field(default_factory=list[Figures])
    """Rounds of answers of one token."""
    idle_cores: float = 0.0
    """What all but the model burns of a core while nobody asks for anything."""
    front_end_us: list[float] = field(default_factory=list[float])
    """Microseconds of CPU of all but the model for each token, in the rounds with the most streams."""
    front_end_net_us: list[float] = field(default_factory=list[float])
    """The same, without what the idle side burns in that time."""
    ingress_mb: list[float] = field(default_factory=list[float])
    """Memory of an ingress replica: before all rounds, after them, and after the answers from the cache."""
    cached: list[Figures] = field(default_factory=list[Figures])
    """The answers from the cache."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: both figures, and what the service is to reach, where there is a target."""

    name: str
    unit: str
    bare: float
    service: float
    target: str = ""
    is_met: bool | None = None

    def line(self) -> str:
        """Return the row as text; a figure that was not measured is a dash."""
        share = f"{self.service / self.bare:.2f}" if self.bare else "-"
        verdict = {None: "", True: "met", False: "missed"}[self.is_met]
        bare = f"{self.bare:,.1f}" if self.bare else "-"
        return f"{self.name:34} {bare:>10} {self.service:10,.1f} {self.unit:9} {share:>6}  {self.target:18} {verdict}"


@dataclass(frozen=True, slots=True)
class Report:
    """What was measured of both sides."""

    bare: Side
    service: Side
    widths: list[int]
    options: argparse.Namespace
    load_before: float

    def table(self) -> str:
        """Return all rows, the medians side by side."""
        head = f"{'':34} {'bare vLLM':>10} {'service':>10} {'':9} {'ratio':>6}  target"
        failed = f"failed requests: {self._failed()}"
        return "\n".join(["", head, *(row.line() for row in self.rows()), *self._hops(), failed, ""])

    def rows(self) -> Iterator[Row]:
        """Yield the rows; those of a service that was not started here lack start, processor time and memory."""
        for width in self.widths:
            bare, service = (median(side.rounds[width]).tokens_per_s for side in (self.bare, self.service))
            yield Row(f"tokens/s, {_streams(width)}", "1/s", bare, service, ">= 0.95", service >= 0.95 * bare)
        narrow, wide = min(self.widths), max(self.widths)
        bare, service = self._both(narrow, "ttft_ms_p50")
        yield Row(f"TTFT p50, {_streams(narrow)}", "ms", bare, service, "<= bare + 5 ms", service <= bare + 5)
        bare, service = self._both(wide, "ttft_ms_p99")
        yield Row(f"TTFT p99, {_streams(wide)}", "ms", bare, service, "<= 1.1", service <= 1.1 * bare)
        bare, service = self._both(wide, "gap_ms_p99")
        yield Row(
            f"gap between events p99, {_streams(wide)}", "ms", bare, service, "<= bare + 50 ms", service <= bare + 50
        )
        bare, service = (median(side.short).requests_per_s for side in (self.bare, self.service))
        yield Row("answers of one token, 64 streams", "1/s", bare, service, ">= 0.9", service >= 0.9 * bare)
        if self.service.front_end_us:
            bare, service = self.bare.idle_cores * 100, self.service.idle_cores * 100
            yield Row("CPU beside the model, idle", "% of core", bare, service)
            bare, service = middle(self.bare.front_end_us or [0.0]), middle(self.service.front_end_us)
            yield Row(f"CPU beside the model, {_streams(wide)}", "us/token", bare, service, "<= 60", service <= 60)
            bare, service = middle(self.bare.front_end_net_us or [0.0]), middle(self.service.front_end_net_us)
            yield Row("the same, without the idle part", "us/token", bare, service)
        if self.service.ready_s and self.bare.ready_s:
            bare, service = self.bare.ready_s, self.service.ready_s
            yield Row("start to the first token", "s", bare, service, "<= 1.15", service <= 1.15 * bare)
        if self.service.ingress_mb:
            yield from self._memory()

    def _hops(self) -> Iterator[str]:
        """Yield where the service says that a request's time went, in the median, for each width."""
        for width in self.widths:
            if hops := median(self.service.rounds[width]).hops_ms:
                listed = ", ".join(f"{hop} {value:,.1f}" for hop, value in hops.items())
                yield f"ms of a request by hop, {_streams(width)}: {listed}"

    def _memory(self) -> Iterator[Row]:
        before, rounds, after = self.service.ingress_mb
        count = sum(figures.requests for figures in self.service.cached)
        yield Row("an ingress replica's memory, before", "MB", 0.0, before, "<= 150", before <= 150)
        yield Row("the same, after all rounds", "MB", 0.0, rounds)
        yield Row(f"after {count:,} cached answers more", "MB", 0.0, after, "<= 150", after <= 150)
        yield Row("growth", "MB", 0.0, after - before, "<= 5", after - before <= 5)

    def exit_status(self, threshold: float) -> int:
        """Return 1 if a request failed or the service keeps less than `threshold` of bare vLLM's tokens/s."""
        shares = [row.service / row.bare for row in self.rows() if row.name.startswith("tokens/s") and row.bare]
        return int(bool(self._failures()) or any(share < threshold for share in shares))

    def write(self) -> str:
        """Write JSON and picture, and return where they are."""
        now = datetime.now(UTC)
        path: Path = self.options.results / f"{now:%Y-%m-%d-%H%M}-bench.json"
        path.write_text(json.dumps(self._document(now), indent=1) + "\n", encoding="utf-8")
        sides = {
            side.target.name: {width: median(side.rounds[width]) for width in self.widths}
            for side in (self.bare, self.service)
        }
        path.with_suffix(".svg").write_text(picture(sides), encoding="utf-8")
        return f"{path}\n{path.with_suffix('.svg')}"

    def _document(self, now: datetime) -> dict[str, Any]:
        return {
            "at": now.isoformat(timespec="seconds"),
            **described(self.load_before),
            "max_tokens": self.options.max_tokens,
            "table": [asdict(row) for row in self.rows()],
            "rounds": {
                side.target.name: {
                    "streams": [asdict(figures) for width in self.widths for figures in side.rounds[width]],
                    "one_token": [asdict(figures) for figures in side.short],
                    "cached": [asdict(figures) for figures in side.cached],
                    "idle_cores": round(side.idle_cores, 4),
                    "front_end_us_per_token": [round(value, 1) for value in side.front_end_us],
                    "front_end_us_per_token_without_idle": [round(value, 1) for value in side.front_end_net_us],
                    "ingress_mb": side.ingress_mb,
                }
                for side in (self.bare, self.service)
            },
        }

    def _both(self, width: int, figure: str) -> tuple[float, float]:
        bare, service = (getattr(median(side.rounds[width]), figure) for side in (self.bare, self.service))
        return bare, service

    def _failures(self) -> dict[str, int]:
        every = [
            f
            for side in (self.bare, self.service)
            for of in (*side.rounds.values(), side.short, side.cached)
            for f in of
        ]
        kinds = sorted({kind for figures in every for kind in figures.failures})
        return {kind: sum(_count(figures, kind) for figures in every) for kind in kinds}

    def _failed(self) -> str:
        return ", ".join(f"{count} {kind}" for kind, count in self._failures().items()) or "none"


def _count(figures: Figures, kind: str) -> int:
    return figures.failures.get(kind, 0)


def _streams(width: int) -> str:
    return "1 stream" if width == 1 else f"{width} streams"
