"""What a relay measurement found: a table, a JSON file, and whether an earlier one was better."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from loadtests.machine import described

TARGET_STREAMS = 64
COST_TARGET_US = 60
IDLE_TARGET_KB = 40
MEMORY_TARGET_MB = 150
GROWTH_TARGET_MB = 5

LATER_MS = 1.0
"""How much later the first token may come than in the baseline, in the median."""
SHARE = 0.8
"""What must be left of the baseline's tokens, in a second and for each second of CPU."""
ANSWERS_SHARE = 0.65
"""The same of answers of one token in a second: between two runs of the same code these went apart by a fifth."""


@dataclass(frozen=True, slots=True)
class Width:
    """What a number of streams brought and cost. CPU is in microseconds for each token, without the idle stack's."""

    streams: int
    step_ms: int
    failures: dict[str, int]
    tokens_per_s: float
    pieces_per_s: float
    """Arrivals at the client: where there are fewer than tokens, some came together."""
    gap_ms_p50: float
    gap_ms_p99: float
    cpu_us: dict[str, float]
    cores: dict[str, float]
    client_us: float

    @property
    def offered_per_s(self) -> float:
        return self.streams * 1000 / self.step_ms

    @property
    def total_us(self) -> float:
        return sum(self.cpu_us.values())

    def line(self) -> str:
        """Return the row of the table."""
        parts = "  ".join(f"{part} {value:6.1f}" for part, value in self.cpu_us.items())
        return (
            f"{self.streams:5} streams  {self.offered_per_s:7,.0f} offered  {self.tokens_per_s:8,.0f} tokens/s  "
            f"gap p50 {self.gap_ms_p50:6.1f} p99 {self.gap_ms_p99:7.1f} ms  us/token: {parts}  "
            f"all {self.total_us:6.1f}  (client {self.client_us:.1f})"
        )


@dataclass(frozen=True, slots=True)
class OneToken:
    """Answers of one token: one after another, and over many connections. CPU is in microseconds for each answer."""

    requests: int
    failures: dict[str, int]
    first_ms_p50: float
    first_ms_p99: float
    per_s: float
    cpu_us: dict[str, float]
    client_us: float
    ingress_mb: list[float]
    """Memory that belongs to the ingress alone, before, and after each tenth of the requests."""

    def line(self) -> str:
        """Return the row of the table."""
        parts = "  ".join(f"{part} {value:,.0f}" for part, value in self.cpu_us.items())
        return (
            f"one token: first event p50 {self.first_ms_p50} p99 {self.first_ms_p99} ms; {self.per_s} answers/s over "
            f"64 connections, us/answer: {parts}  (client {self.client_us:,.0f}); "
            f"ingress {self.ingress_mb[0]} MB, after {self.requests:,} answers {self.ingress_mb[-1]} MB"
        )


@dataclass(frozen=True, slots=True)
class Idle:
    """Streams that were open and silent; memory is that of the ingress before, with them, and after they left."""

    streams: int
    failures: dict[str, int]
    held: int
    kb_each: float
    ingress_mb: tuple[float, float, float]
    first_ms_p50_beside: float
    """Of requests that were sent meanwhile."""

    def line(self) -> str:
        """Return the row of the table."""
        before, held, after = self.ingress_mb
        return (
            f"{self.held:,} of {self.streams:,} silent streams held, {self.kb_each} kB each "
            f"({before} MB, {held} MB with them, {after} MB after); beside them first event p50 "
            f"{self.first_ms_p50_beside} ms"
        )


@dataclass(slots=True)
class RelayResults:
    """Everything that was found."""

    load_before: float
    idle_burn: dict[str, float] = field(default_factory=dict[str, float])
    one_token: OneToken | None = None
    widths: list[Width] = field(default_factory=list[Width])
    full: dict[int, Width] = field(default_factory=dict[int, Width])
    idle: Idle | None = None

    def table(self) -> str:
        """Return all of it, as text, with the targets."""
        burn = ", ".join(f"{part} {share:.1%}" for part, share in self.idle_burn.items())
        lines = ["", f"the idle stack, of one core: {burn}", *(width.line() for width in self.widths)]
        lines += [f"full, {count} ingress replicas: {width.line()}" for count, width in self.full.items()]
        lines += [part.line() for part in (self.one_token, self.idle) if part]
        lines += ["", *(f"{name:52} {value:10,.1f}  {_verdict(value, most)}" for name, value, most in self.rows())]
        return "\n".join([*lines, f"failed: {self.failures() or 'none'}", ""])

    def rows(self) -> Iterator[tuple[str, float, float]]:
        """Yield what has a target: its name, its value, and what it may be at most."""
        for width in self.widths:
            if width.streams == TARGET_STREAMS:
                yield "CPU of all processes at 64 streams, us/token", width.total_us, COST_TARGET_US
        if self.idle:
            yield f"kB for each of {self.idle.streams:,} silent streams", self.idle.kb_each, IDLE_TARGET_KB
        if self.one_token:
            before, after = self.one_token.ingress_mb[0], self.one_token.ingress_mb[-1]
            yield f"MB of an ingress after {self.one_token.requests:,} answers", after, MEMORY_TARGET_MB
            yield "the same, growth", after - before, GROWTH_TARGET_MB

    def failures(self) -> dict[str, int]:
        """Return what failed, and how often."""
        found: dict[str, int] = {}
        for part in (self.one_token, *self.widths, *self.full.values(), self.idle):
            for kind, count in (part.failures if part else {}).items():
                found[kind] = found.get(kind, 0) + count
        if self.idle and self.idle.held < self.idle.streams:
            found["not held"] = self.idle.streams - self.idle.held
        return found

    def write(self, folder: Path) -> Path:
        """Write everything as JSON and return where it is."""
        folder.mkdir(parents=True, exist_ok=True)
        now = datetime.now(UTC)
        path = folder / f"{now:%Y-%m-%d-%H%M}-relay.json"
        found = {"at": now.isoformat(timespec="seconds"), **described(self.load_before), **asdict(self)}
        path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        return path

    def exit_status(self, baseline: Path | None) -> int:
        """Return 1 if anything failed, or is worse than in the baseline; what is worse is printed."""
        worse = list(regressions(asdict(self), json.loads(baseline.read_text(encoding="utf-8")))) if baseline else []
        for sentence in worse:
            print(f"worse than the baseline: {sentence}")
        return int(bool(self.failures() or worse))


def regressions(now: Mapping[str, Any], before: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is worse in `now`, each in a sentence; what either lacks is passed over."""
    one, other = now.get("one_token"), before.get("one_token")
    if one and other:
        if one["first_ms_p50"] > other["first_ms_p50"] + LATER_MS:
            yield f"the first token comes after {one['first_ms_p50']} ms, not {other['first_ms_p50']}"
        if one["per_s"] < ANSWERS_SHARE * other["per_s"]:
            yield f"{one['per_s']} answers of one token per second, not {other['per_s']}"
    for width in now.get("widths", ()):
        for earlier in before.get("widths", ()):
            if width["streams"] == earlier["streams"] and width["streams"] >= TARGET_STREAMS:
                yield from _narrower(width, earlier)


def _narrower(now: Mapping[str, Any], before: Mapping[str, Any]) -> Iterator[str]:
    cost, earlier = (sum(width["cpu_us"].values()) for width in (now, before))
    if cost * SHARE > earlier:
        yield f"{now['streams']} streams cost {cost:.0f} us of CPU per token, not {earlier:.0f}"
    if now["tokens_per_s"] < SHARE * before["tokens_per_s"]:
        yield f"{now['streams']} streams bring {now['tokens_per_s']} tokens/s, not {before['tokens_per_s']}"


def _verdict(value: float, most: float) -> str:
    return f"<= {most:<5} {'met' if value <= most else 'missed'}"
