"""What processes do, as the kernel has it. The guard imports this: nothing but the standard library."""

import os
import signal
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
STOPPED = frozenset("Tt")
BUSY = frozenset("RD")
"""Runs or waits for a processor, and waits for a disk."""
LEAST_SHARE = 0.02
"""The share of a processor that counts as work; threads that only look at the clock take less."""


@dataclass(frozen=True, slots=True)
class Activity:
    """What a process has done since its start, and what its threads do now."""

    cpu_s: float
    states: frozenset[str]
    """The letters of `/proc/PID/stat`, of all threads."""


def activity(pid: int) -> Activity | None:
    """Return what a process does; None where there is none."""
    whole = _living(pid)
    if whole is None:
        return None
    threads = map(_stat, _of_threads(pid, "stat"))
    cpu_s = (int(whole[11]) + int(whole[12])) / TICKS_PER_S
    return Activity(cpu_s, frozenset(one[0] for one in threads if one is not None))


def started(pid: int) -> int | None:
    """Return when a process started (the kernel's ticks), by which it is told from a later one of the same id."""
    whole = _living(pid)
    return None if whole is None else int(whole[19])


def descendants(pid: int) -> list[int]:
    """Return the ids of what a process started, and of what these did."""
    found: list[int] = []
    for children in _of_threads(pid, "children"):
        with suppress(OSError):  # a thread that has ended
            for child in map(int, children.read_text().split()):
                found += [child, *descendants(child)]
    return found


def kill(pids: Iterable[int]) -> None:
    """Kill processes, stopped ones too; those that are gone are passed over."""
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


class Stillness:
    """For how many looks in a row processes have stood still.

    Looks are counted, not seconds: of a machine that was suspended, or whose processors are all taken, whoever looks
    has seen no more than the one that is looked at.
    """

    def __init__(self) -> None:
        self.looks = 0
        self.is_stopped = False
        """Whether one of them was stopped at the last look."""
        self._cpu_s: dict[int, float] = {}
        self._at = 0.0

    def reset(self) -> None:
        """Begin anew: there was a sign of life."""
        self.looks = 0
        self._cpu_s.clear()

    def look(self, pids: Sequence[int]) -> int:
        """Return for how many looks in a row one of the processes is stopped, or none of them has done anything.

        The first look is the one that others are compared with. Of no process nothing is known, and it stands for none.
        """
        now, seen = time.monotonic(), {pid: activity(pid) for pid in pids}
        living = {pid: one for pid, one in seen.items() if one is not None}
        is_first, least_s = not self._cpu_s, LEAST_SHARE * (now - self._at)
        moves = any(
            one.states & BUSY or one.cpu_s - self._cpu_s.get(pid, 0.0) >= least_s for pid, one in living.items()
        )
        self.is_stopped = any(one.states <= STOPPED for one in living.values())
        if self.is_stopped or (living and not is_first and not moves):
            self.looks += 1
        else:
            self.looks = 0
        self._cpu_s, self._at = {pid: one.cpu_s for pid, one in living.items()}, now
        return self.looks


def _living(pid: int) -> list[str] | None:
    """Return the fields of a process; None where there is none, or only its exit status is left."""
    whole = _stat(Path(f"/proc/{pid}/stat"))
    return None if whole is None or whole[0] in "ZX" else whole


def _of_threads(pid: int, name: str) -> list[Path]:
    """Return the files of this name of a process's threads; none once it is gone, which it may be at any moment."""
    try:
        return [Path(entry.path, name) for entry in os.scandir(f"/proc/{pid}/task")]
    except OSError:
        return []


def _stat(path: Path) -> list[str] | None:
    """Return the fields of a `stat` file behind the name, which can hold anything."""
    try:
        return path.read_text(errors="replace").rpartition(")")[2].split()
    except OSError:  # gone meanwhile
        return None
