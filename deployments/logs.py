"""The service's own log, in the replica's file beside Serve's lines, at most a second late."""

import asyncio
import logging
from collections.abc import Sequence

WRITTEN_S = 1.0


class Written(logging.Handler):
    """Has the lines that `handlers` hold back written a second after the first of them.

    Where Serve is tuned for throughput it holds back a thousand, which on a quiet replica is
    hours: whoever looks a request up would not find it, and a killed replica would take them along.
    """

    def __init__(self, handlers: Sequence[logging.Handler]) -> None:
        super().__init__()
        self._handlers = handlers
        self._timer: asyncio.TimerHandle | None = None

    def emit(self, record: logging.LogRecord) -> None:
        if self._timer is not None:
            return
        try:
            self._timer = asyncio.get_running_loop().call_later(WRITTEN_S, self._write)
        except RuntimeError:  # a thread without an event loop
            self._write()

    def _write(self) -> None:
        self._timer = None
        for handler in self._handlers:
            handler.flush()


def configure_logging(level: str) -> None:
    """Send this service's log to the replica's own log file, beside Serve's; call it once in a replica."""
    serves = logging.getLogger("ray.serve").handlers
    ours = logging.getLogger("deployments")
    ours.setLevel(level)
    ours.handlers = [*serves, Written(serves)]
    ours.propagate = False
