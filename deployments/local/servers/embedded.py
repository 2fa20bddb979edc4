"""What the embedded servers share: one at a time for each state folder, under supervision, on a unix socket."""

import os
import signal
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

from deployments.local.processes.supervisor import Supervised, Supervisor
from deployments.local.state import StateFolder


class EmbeddedServer(Supervised, ABC):
    """A server whose data and sockets lie in folders of its name. The constructor does no I/O."""

    def __init__(self, name: str, state: StateFolder, stop_signals: Sequence[signal.Signals], grace_s: float) -> None:
        self._name = name
        self._state = state
        self._log = state.logs / f"{name}.log"
        self._lock: int | None = None
        self._supervisor = Supervisor(name, self._launch, stop_signals=stop_signals, grace_s=grace_s)

    @property
    @abstractmethod
    def url(self) -> str:
        """Its address on the unix socket."""

    def start(self) -> str:
        """Bring the server up, on a new folder for the first time, and return its address.

        Raises LauncherError with the remedy: its wheel is missing, the folder is held by another launcher or was made
        by another version, or it does not start in time.
        """
        self._lock = self._state.lock(self._name)
        try:
            self._supervisor.start()
        except BaseException:
            self.stop()
            raise
        return self.url

    def stop(self) -> None:
        """Shut the server down, finish what it writes, and leave neither socket nor lock."""
        if self._lock is None:
            return
        self._supervisor.stop()
        self._state.remove_sockets(self._name)
        os.close(self._lock)
        self._lock = None

    @property
    def _sockets(self) -> Path:
        return self._state.sockets / self._name

    @abstractmethod
    def _launch(self) -> subprocess.Popen[bytes]:
        """Start the server and return once it answers."""
