"""Where a request's time goes, hop by hop: for `Server-Timing`, the log line and the benches.

    auth         who asks
    body         reading it, and whether it is well formed
    admission    the key's limits
    history      what was said before; and after the answer, keeping it
    cache        has it been answered, is it being answered
    queue        in the engine, before it is scheduled
    prefill      in the engine, until its first token
    first-frame  the rest of the wait for the first frame (for a plain answer: for the whole), to the model and back
    decode       from the first frame to the last
    send         the end of the answer, written out
    other        all else

Each hop ends where the next begins, so that together they are the whole.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EngineTimes:
    """Seconds that a request spent in the engine."""

    queue: float
    prefill: float
    decode: float


class Timing:
    """The hops of one request so far. `tell`, if there is one, is called with each hop's name, begin and end."""

    __slots__ = ("_last", "began", "hops_s", "tell")

    def __init__(self) -> None:
        self.began = self._last = time.perf_counter()
        self.hops_s: dict[str, float] = {}
        self.tell: Callable[[str, float, float], None] | None = None

    def mark(self, hop: str) -> None:
        """Count the time since the last mark to `hop`."""
        now = time.perf_counter()
        self.hops_s[hop] = self.hops_s.get(hop, 0.0) + now - self._last
        if self.tell is not None:
            self.tell(hop, self._last, now)
        self._last = now

    def record_engine_times(self, hop: str, times: EngineTimes | None) -> None:
        """Take what the engine knows out of `hop`: never more than it has, since who joined did not see all of it."""
        if times is None:
            return
        for part in ("queue", "prefill") if "decode" in self.hops_s else ("queue", "prefill", "decode"):
            known = min(getattr(times, part), self.hops_s.get(hop, 0.0))
            self.hops_s[hop] = self.hops_s.get(hop, 0.0) - known
            self.hops_s[part] = self.hops_s.get(part, 0.0) + known

    def header(self) -> str:
        """Return the value of `Server-Timing` (W3C): each hop in milliseconds, and the total so far."""
        total = sum(self.hops_s.values())
        return ", ".join(f"{hop};dur={seconds * 1e3:.2f}" for hop, seconds in [*self.hops_s.items(), ("total", total)])

    def trailer(self) -> bytes:
        """Return all of a stream as its last event: a comment, which a reader of server-sent events passes over."""
        self.mark("send")
        return f": server-timing {self.header()}\n\n".encode()

    def line(self) -> str:
        """Return the same for a log line."""
        return ",".join(f"{hop}={seconds * 1e3:.2f}" for hop, seconds in self.hops_s.items())
