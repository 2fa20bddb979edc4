"""Finding what an earlier run left behind, by a mark that every child inherits in its environment.

A kill of the launcher, or of Ray, can orphan processes that no parent waits for:
Ray's workers, HAProxy, vLLM's engines. The mark says whose they are, so that
nothing else on the machine can be meant, whatever its name.
"""

import os
import select
import signal
import time
from collections.abc import Iterator
from pathlib import Path

MARK = "CHATLLM_INSTANCE"
PART = "CHATLLM_PART"
GONE_TIMEOUT_S = 5.0


def marks(state: Path, part: str) -> dict[str, str]:
    """Return the environment that marks a process as the part `part` of the installation in `state`."""
    return {MARK: str(state), PART: part}


def marked(state: Path, parts: tuple[str, ...]) -> Iterator[int]:
    """Yield the ids of the living processes that bear the mark, but not this process's."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid() and _bears(int(entry.name), state, parts):
            yield int(entry.name)


def sweep(state: Path, parts: tuple[str, ...] = ("ray", "page")) -> int:
    """Kill everything that bears the mark, and return how many processes that were.

    Call it only while nothing of these parts is meant to run. What is killed
    keeps no data: Postgres and Valkey have supervisors that end them gently.
    """
    ended = 0
    deadline = time.monotonic() + GONE_TIMEOUT_S
    # A process may fork while it is being looked for, so look until none is left.
    while (found := list(marked(state, parts))) and time.monotonic() < deadline:
        files = [file for pid in found if (file := _open(pid, state, parts)) is not None]
        for file in files:
            _kill(file)
        for file in files:
            _wait(file, deadline)
        ended += len(files)
    return ended


def _bears(pid: int, state: Path, parts: tuple[str, ...]) -> bool:
    try:
        environment = set(Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"))
    except OSError:  # gone, or another user's
        return False
    return any(
        {os.fsencode(f"{name}={value}") for name, value in marks(state, part).items()} <= environment for part in parts
    )


def _open(pid: int, state: Path, parts: tuple[str, ...]) -> int | None:
    """Return a descriptor that stays true to the process even if its id is given away again."""
    try:
        file = os.pidfd_open(pid)
    except OSError:
        return None
    if _bears(pid, state, parts):
        return file
    os.close(file)
    return None


def _kill(file: int) -> None:
    try:
        signal.pidfd_send_signal(file, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return


def _wait(file: int, deadline: float) -> None:
    poll = select.poll()
    poll.register(file, select.POLLIN)
    poll.poll(max(0.0, deadline - time.monotonic()) * 1000)
    os.close(file)
