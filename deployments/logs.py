"""The service's own log, in the replica's file beside Serve's lines, at most a second late."""

import asyncio
import logging
import time
from collections.abc import Sequence

WRITTEN_S = 1.0


class Written(logging.Handler):
    """Gives lines to `handlers`, and has what they hold back written a second after the first.

    Where Serve is tuned for throughput it holds back a thousand lines, which on a quiet replica is
    hours: whoever looks a request up would not find it, and a killed replica would take them along.
    """

    def __init__(self, handlers: Sequence[logging.Handler]) -> None:
        """`handlers` may change: Serve replaces its own when its logging is configured anew."""
        super().__init__()
        self._handlers = handlers
        self._due_at = float("-inf")

    def emit(self, record: logging.LogRecord) -> None:
        for handler in self._handlers:
            if record.levelno >= handler.level:
                handler.handle(record)
        now = time.monotonic()
        if now < self._due_at:
            return
        try:
            asyncio.get_running_loop().call_later(WRITTEN_S, self._write)
            self._due_at = now + WRITTEN_S
        except RuntimeError:  # a thread without an event loop
            self._write()

    def _write(self) -> None:
        self._due_at = float("-inf")
        for handler in self._handlers:
            handler.flush()


def configure_logging(level: str) -> None:
    """Send this service's log to the replica's own log file, beside Serve's; call it once in a replica."""
    ours = logging.getLogger("deployments")
    ours.setLevel(level)
    ours.handlers = [Written(logging.getLogger("ray.serve").handlers)]
    ours.propagate = False
