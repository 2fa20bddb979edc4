"""The service's own log: in a replica's file beside Serve's lines, at most a second late; elsewhere on standard error.

Warnings and errors are in the file at once.

What a call passes as `extra` is part of its line, whatever formats it: Serve's formatter leaves it out.
"""

import asyncio
import copy
import json
import logging
import re
import time
from collections.abc import Sequence

WRITTEN_S = 1.0
MAX_FACT_CHARS = 500
_STANDARD = frozenset({"message", "asctime"})
_PLAIN = re.compile(r"[\w.:/@+-]{1,100}", re.ASCII)


def with_facts(record: logging.LogRecord) -> logging.LogRecord:
    """Return the record with what its call passed as `extra` behind the message, as `name=value`.

    A value that is no plain word is quoted, so that it can neither begin a line nor forge another fact.
    """
    names = record.__dict__.keys() - _STANDARD - _made_by_factory()
    if not names:
        return record
    shown = copy.copy(record)
    facts = (f"{name}={_quoted(record.__dict__[name])}" for name in record.__dict__ if name in names)
    shown.msg, shown.args = " ".join((record.getMessage(), *facts)), None
    return shown


def _made_by_factory() -> frozenset[str]:
    """Return the attributes of every record; a library's own factory adds some, as vLLM's does."""
    return frozenset(logging.getLogRecordFactory()("", 0, "", 0, "", (), None).__dict__)


def _quoted(value: object) -> str:
    text = str(value)[:MAX_FACT_CHARS]
    return text if _PLAIN.fullmatch(text) else json.dumps(text)


class FactsFormatter(logging.Formatter):
    """The ordinary formatter, with the facts of a call behind its message."""

    def format(self, record: logging.LogRecord) -> str:
        return super().format(with_facts(record))


class Written(logging.Handler):
    """Gives lines to `handlers`, and has what they hold back written a second after the first, or with a warning.

    Where Serve is tuned for throughput it holds back a thousand lines, which on a quiet replica is
    hours: whoever looks a request up would not find it, and a killed replica would take them along,
    the warnings that tell what killed it among them.
    """

    def __init__(self, handlers: Sequence[logging.Handler]) -> None:
        """`handlers` may change: Serve replaces its own when its logging is configured anew."""
        super().__init__()
        self._handlers = handlers
        self._due_at = float("-inf")

    def emit(self, record: logging.LogRecord) -> None:
        record = with_facts(record)
        for handler in self._handlers:
            if record.levelno >= handler.level:
                handler.handle(record)
        if record.levelno >= logging.WARNING:
            self._write()
            return
        now = time.monotonic()
        if now < self._due_at:
            return
        try:
            asyncio.get_running_loop().call_later(WRITTEN_S, self._write_when_due)
            self._due_at = now + WRITTEN_S
        except RuntimeError:  # a thread without an event loop
            self._write()

    def _write_when_due(self) -> None:
        self._due_at = float("-inf")
        self._write()

    def _write(self) -> None:
        for handler in self._handlers:
            handler.flush()


def configure_logging(level: str) -> None:
    """Send this service's log to the replica's own log file, beside Serve's; every kind of replica calls it first."""
    ours = logging.getLogger("deployments")
    ours.setLevel(level)
    ours.handlers = [Written(logging.getLogger("ray.serve").handlers)]
    ours.propagate = False


def log_to_terminal() -> None:
    """Send warnings and errors to standard error: for the launcher and the command line."""
    handler = logging.StreamHandler()
    handler.setFormatter(FactsFormatter("%(asctime)s %(levelname)s %(message)s"))
    logging.getLogger("deployments").handlers = [handler]
