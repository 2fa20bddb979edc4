"""The process beside a replica that ends it when it is frozen: `python -S -m deployments.infra.liveness.guard PID`.

The replica writes a byte a second to its standard input. Where none comes, and the replica does nothing and has
nothing to do it with (it is stopped, or all its threads wait for each other), the guard kills it with everything that
it started. So a frozen replica becomes a killed one, for which everybody is prepared: its connections close, Ray
replaces it, and it cannot wake up to say what is no longer true. When the replica has ended, so do its guard and,
after a grace, what it has left behind.
"""

import os
import select
import sys
import time

from deployments.infra.liveness.processes import Stillness, descendants, kill, started

LOOK_S = 1.0
STILL_LOOKS = 7
NOTE_S = 10.0
"""How often it is looked what a replica has started."""
GRACE_S = 10.0
"""What a replica has started may take so long to end after it."""


class Guard:
    """Watches one process and what it started."""

    def __init__(self, pid: int, look_s: float = LOOK_S) -> None:
        self._pid = pid
        self._look_s = look_s
        self._still = Stillness()
        self._started: dict[int, int] = {}
        """When each process that the replica started did so, by its id."""
        self._note_at = 0.0

    def watch(self, beats: int) -> None:
        """Return once the replica has ended, by itself or by this; `beats` is what it writes to."""
        while True:
            is_readable, _, _ = select.select([beats], [], [], self._look_s)
            if not is_readable:
                if self._still.look([self._pid]) >= STILL_LOOKS:
                    return self._end("it was frozen")
                continue
            if not os.read(beats, 4096):
                return self._end_rest()
            self._still.reset()
            if time.monotonic() >= self._note_at:
                self._note_started()

    def _note_started(self) -> None:
        found = {pid: started(pid) for pid in descendants(self._pid) if pid != os.getpid()}
        self._started = {pid: at for pid, at in found.items() if at is not None}
        self._note_at = time.monotonic() + NOTE_S

    def _end(self, reason: str) -> None:
        sys.stderr.write(f"replica {self._pid} is ended by its guard: {reason}\n")
        self._note_started()
        kill([*self._started, self._pid])

    def _end_rest(self) -> None:
        deadline = time.monotonic() + GRACE_S
        while (left := self._left()) and time.monotonic() < deadline:
            time.sleep(self._look_s / 10)
        kill(left)

    def _left(self) -> list[int]:
        return [pid for pid, at in self._started.items() if started(pid) == at]


if __name__ == "__main__":
    Guard(int(sys.argv[1])).watch(sys.stdin.fileno())
