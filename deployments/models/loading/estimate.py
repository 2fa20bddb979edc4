"""How long a start takes, phase by phase, judged by the ones before."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

PHASES = ("scheduling", "starting", "downloading", "reading_weights", "compiling", "warming_up", "joining")
"""In their order: Serve and Ray start a process; the replica loads, as it reports itself; the ingress learns of it."""
OUTSIDE = ("scheduling", "joining")
"""Those that only the ingress can measure: a start that it did not ask for lacks them."""
MAX_STARTS = 5
"""The newest ones, which are judged by: what a model needs changes with its settings and the machine."""


@dataclass(frozen=True, slots=True)
class Start:
    """One successful start of a deployment: when its replica began to load (Unix seconds), and its phases (s)."""

    deployment: str
    began_at: float
    phases: Mapping[str, float] = field(default_factory=dict[str, float])


def typical(starts: Sequence[Start]) -> dict[str, float]:
    """Return the median seconds of each phase; a phase that a replica did not have took it no time."""
    newest = sorted(starts, key=lambda start: start.began_at)[-MAX_STARTS:]
    found: dict[str, float] = {}
    for phase in PHASES:
        known = [start.phases.get(phase, None if phase in OUTSIDE else 0.0) for start in newest]
        if seconds := [took_s for took_s in known if took_s is not None]:
            found[phase] = median(seconds)
    return found


def remaining_s(
    phases: Mapping[str, float], phase: str, elapsed_s: float = 0.0, percent: int | None = None
) -> float | None:
    """Return how many seconds are left of a start that has been in `phase` for `elapsed_s`; None if nothing is known.

    `percent` is how much of the phase is done, where a replica reports that.
    """
    if not phases:
        return None
    later = PHASES[PHASES.index(phase) + 1 :]
    here_s = max(0.0, phases.get(phase, 0.0) - elapsed_s)
    if percent:
        here_s = elapsed_s * (100 - percent) / percent
    return here_s + sum(phases.get(name, 0.0) for name in later)
