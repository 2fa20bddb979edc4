"""Keeping one server process alive."""

import logging
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

from deployments.local.processes.child import end
from deployments.local.state import LauncherError

log = logging.getLogger(__name__)

FIRST_DELAY_S = 0.05
MAX_DELAY_S = 10.0
MAX_STARTS_PER_MINUTE = 12


class Supervisor:
    """Starts a server, starts it again when it dies, and ends it.

    `launch` brings the server up and returns once it answers, or raises
    LauncherError; what a dead predecessor left is its business too. Where it fails when
    a server is started again, for want of memory or processes for instance, it is called
    again with growing pauses.
    """

    def __init__(
        self,
        name: str,
        launch: Callable[[], subprocess.Popen[bytes]],
        *,
        stop_signals: Sequence[signal.Signals],
        grace_s: float,
    ) -> None:
        self.name = name
        self.restarts = 0
        self.trouble = ""
        """Why the server is down and could not be started again yet; empty while it runs."""
        self._launch = launch
        self._stop_signals = stop_signals
        self._grace_s = grace_s
        self._stopping = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._watcher: threading.Thread | None = None
        self._starts: deque[float] = deque(maxlen=MAX_STARTS_PER_MINUTE)

    @property
    def pid(self) -> int | None:
        """Process id of the living server, or None."""
        process = self._process
        return process.pid if process and process.poll() is None else None

    def start(self) -> None:
        """Bring the server up; LauncherError when it does not answer in time. After `stop` it may be called again."""
        self._stopping.clear()
        self._start()

    def watch(self) -> None:
        """Restart the server whenever it dies, from a thread of its own; returns at once."""
        if self._watcher is None:
            self._watcher = threading.Thread(target=self._keep_alive, name=f"watch-{self.name}", daemon=True)
            self._watcher.start()

    def stop(self) -> None:
        """End the server and the watching; harmless if it is not running."""
        self._stopping.set()
        self._end()
        if self._watcher is not None:
            self._watcher.join()
            self._watcher = None

    def _end(self) -> None:
        if self._process is not None:
            end(self._process, self._stop_signals, self._grace_s)

    def _start(self) -> None:
        self._starts.append(time.monotonic())
        self._process = self._launch()

    def _keep_alive(self) -> None:
        while self._process is not None and not self._stopping.is_set():
            returncode = self._process.wait()
            if not self._stopping.is_set():
                log.warning("a server died and is started again", extra={"server": self.name, "returncode": returncode})
                self._restart()
        self._end()  # `stop` may have come while the server was being started again

    def _restart(self) -> None:
        while not self._stopping.wait(self._pause_s()):
            try:
                self._start()
            except Exception as error:  # noqa: BLE001 - the thread's boundary: whatever failed may work the next time
                self.trouble = _reason(error)
                log.error("a server does not start", extra={"server": self.name, "reason": self.trouble})
            else:
                self.trouble = ""
                self.restarts += 1
                return

    def _pause_s(self) -> float:
        """Seconds to wait before another start: none at first, longer the more there were within a minute."""
        now = time.monotonic()
        recent = [start for start in self._starts if now - start < 60.0]
        if len(recent) == MAX_STARTS_PER_MINUTE:
            return recent[0] + 60.0 - now
        return min(MAX_DELAY_S, FIRST_DELAY_S * 2 ** len(recent)) if len(recent) > 1 else 0.0


def _reason(error: Exception) -> str:
    """Return what went wrong in one line; what only the system can mean is told with the kind of the error."""
    text = " ".join(str(error).split())
    return text if isinstance(error, LauncherError) else f"{type(error).__name__}: {text}".removesuffix(": ")


class Supervised:
    """What a part of the service tells of the one process that its `Supervisor` keeps up."""

    _supervisor: Supervisor

    @property
    def pid(self) -> int | None:
        """Process id of what is supervised, or None while it is down."""
        return self._supervisor.pid

    @property
    def restarts(self) -> int:
        """How often it has been restarted since `start`."""
        return self._supervisor.restarts

    @property
    def trouble(self) -> str:
        """Why it is down and could not be started again yet, or nothing."""
        return self._supervisor.trouble

    def watch(self) -> None:
        """Start it again whenever it ends, from a thread of its own; returns at once."""
        self._supervisor.watch()
