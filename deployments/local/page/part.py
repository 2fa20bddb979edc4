"""The chat page, as one part that is started, watched and ended like the others."""

import os
import signal
import subprocess
import sys
import threading
import time

from deployments.local.http_probe import PAGE_ANSWERS, status_of
from deployments.local.instance import Instance
from deployments.local.keys import FILE as KEY_FILE
from deployments.local.processes import leftovers
from deployments.local.processes.child import spawn, tail
from deployments.local.processes.supervisor import Supervised, Supervisor
from deployments.local.settings import REPOSITORY
from deployments.local.state import LauncherError, StateFolder
from ui.settings import LOCAL

START_TIMEOUT_S = 120.0
GRACE_S = 5.0

# The page speaks to the API like any other client; it has no business with the stores.
WITHHELD = ("DATABASE_URL", "REDIS_URL", "PYTHONDONTWRITEBYTECODE")


def takes_links(host: str) -> bool:
    """Whether the page asks a browser for a one-time link.

    It does on a loopback address, unless CHATLLM_PAGE_SIGN_IN says who signs in.
    """
    return host in LOCAL and not os.environ.get("CHATLLM_PAGE_SIGN_IN", "").strip()


class PagePart(Supervised):
    """One process that serves the chat page. The constructor does no I/O."""

    def __init__(self, state: StateFolder, instance: Instance) -> None:
        """`instance` has the addresses of the page, the API, and Ray's dashboard."""
        self._state, self._instance = state, instance
        self._log = state.logs / "page.log"
        self._stopping = threading.Event()
        self._supervisor = Supervisor("page", self._launch, stop_signals=(signal.SIGTERM,), grace_s=GRACE_S)

    def start(self) -> None:
        """Start the page and return once it answers, though the API may not do so yet."""
        self._supervisor.start()

    def stop(self) -> None:
        """End the page; harmless if it never ran."""
        self._stopping.set()
        self._supervisor.stop()
        leftovers.sweep(self._state.path, ("page",))

    def _launch(self) -> subprocess.Popen[bytes]:
        leftovers.sweep(self._state.path, ("page",))
        process = spawn([sys.executable, "-m", "ui"], self._log, cwd=REPOSITORY, environment=self._environment())
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._stopping.wait(0.1):
            if process.poll() is not None:
                raise LauncherError(f"the chat page ended at its start, see {self._log}: {tail(self._log)}")
            if status_of(f"{self._instance.page_url}/") in PAGE_ANSWERS:
                return process
            if time.monotonic() > deadline:
                process.kill()
                raise LauncherError(f"the chat page did not start within {START_TIMEOUT_S:.0f} s, see {self._log}")
        return process

    def _environment(self) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if name not in WITHHELD}
        return {
            **inherited,
            **leftovers.marks(self._state.path, "page"),
            "CHATLLM_STATE": str(self._state.path),
            "CHATLLM_API_URL": self._instance.api_url,
            "CHATLLM_API_KEY_FILE": str(self._state.path / KEY_FILE),
            "CHATLLM_PAGE_HOST": self._instance.page_host,
            "CHATLLM_PAGE_PORT": str(self._instance.page_port),
            "CHATLLM_DASHBOARD_URL": self._instance.dashboard_url,
        }
