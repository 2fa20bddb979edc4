"""The record of a running launcher, by which `status` and `down` find it.

A process id alone proves nothing after a crash, since the kernel gives it away
again; together with the time at which the process started it does.
"""

import json
import os
import select
import signal
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal, Self

LOOK_S = 0.2

Phase = Literal["starting", "answering", "ready", "draining", "stopping"]


@dataclass(frozen=True, slots=True)
class Instance:
    """A launcher and the addresses that it was given."""

    pid: int
    started_ticks: int
    host: str
    port: int
    page_port: int | None
    dashboard_port: int
    model: str
    phase: Phase = "starting"
    embedded_postgres: bool = True
    embedded_valkey: bool = True
    page_takes_links: bool = False
    page_host: str = "127.0.0.1"
    config: str = ""
    """The service file that it was started with."""
    chosen_model: str = ""
    """The model that it was told to serve in place of the file's default one."""
    troubles: dict[str, str] = field(default_factory=dict[str, str])
    """The parts that are down and could not be started again yet, each with the reason."""

    @classmethod
    def read(cls, state: Path) -> Self | None:
        """Return the running instance, or None if there is none or only the record of a dead one."""
        try:
            found = cls(**json.loads(_path(state).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None
        return found if started_ticks(found.pid) == found.started_ticks else None

    def write(self, state: Path) -> None:
        """Replace the record as a whole."""
        new = _path(state).with_suffix(".new")
        new.write_text(json.dumps(asdict(self)), encoding="utf-8")
        new.replace(_path(state))

    @property
    def api_url(self) -> str:
        """Where the API answers, from this machine."""
        return f"http://{reachable(self.host)}:{self.port}"

    @property
    def page_url(self) -> str:
        """Where the chat page is, for a browser on this machine; "" if it was not started."""
        return f"http://{reachable(self.page_host)}:{self.page_port}" if self.page_port else ""

    @property
    def dashboard_url(self) -> str:
        """Where Ray's dashboard is."""
        return f"http://127.0.0.1:{self.dashboard_port}"

    def end(self, timeout_s: float, meanwhile: Callable[[], object] = lambda: None) -> bool:
        """Ask the launcher to stop and wait until it has; past the deadline kill it and return False.

        `meanwhile` is called several times a second. An interrupt asks the launcher to stop at once, and waits again.
        """
        with self._opened() as file:
            if file is None:
                return True
            signal.pidfd_send_signal(file, signal.SIGTERM)
            end = time.monotonic() + timeout_s
            while time.monotonic() < end:
                try:
                    if _ended(file, min(LOOK_S, timeout_s)):
                        return True
                    meanwhile()
                except KeyboardInterrupt:
                    signal.pidfd_send_signal(file, signal.SIGTERM)
            signal.pidfd_send_signal(file, signal.SIGKILL)
            _ended(file, 5.0)
            return False

    @contextmanager
    def _opened(self) -> Generator[int | None]:
        """Lend a descriptor that stays true to the process, or None if it is gone."""
        try:
            file = os.pidfd_open(self.pid)
        except ProcessLookupError:
            yield None
            return
        try:
            yield file if started_ticks(self.pid) == self.started_ticks else None
        finally:
            os.close(file)


def forget(state: Path) -> None:
    """Remove the record."""
    _path(state).unlink(missing_ok=True)


def reachable(host: str) -> str:
    """Return the address by which this machine reaches a server that listens on `host`, as in a URL."""
    if host in ("0.0.0.0", "::", "*"):  # noqa: S104 - compared, not bound
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host


def started_ticks(pid: int) -> int | None:
    """Return when the process started, in clock ticks since boot (proc(5), field 22), or None if it is gone."""
    try:
        line = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The program's name, in parentheses, may itself hold spaces and parentheses.
    fields = line.rpartition(")")[2].split()
    return None if fields[0] in ("Z", "X") else int(fields[19])


def _path(state: Path) -> Path:
    return state / "instance.json"


def _ended(file: int, timeout_s: float) -> bool:
    poll = select.poll()
    poll.register(file, select.POLLIN)
    return bool(poll.poll(timeout_s * 1000))
