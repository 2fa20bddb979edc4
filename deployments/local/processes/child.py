"""Child processes that do not outlive the launcher, and strangers left over from one that died.

A child gets a signal from the kernel when its parent ends, so that even `kill -9`
of the launcher leaves nothing. What slipped through all the same is recognised at
the next start by the program it runs and the folder it works in, never by name alone.
"""

import os
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from deployments.local.state import LauncherError

MAX_LOG_BYTES = 8 * 1024 * 1024

# PR_SET_PDEATHSIG fires when the *thread* that forked ends, not the process (prctl(2)).
# One thread that lives as long as this process therefore forks every child.
_forker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="forker")


def spawn(
    command: Sequence[str],
    log: Path,
    *,
    cwd: Path,
    prefix: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    death_signal: str = "TERM",
) -> subprocess.Popen[bytes]:
    """Start `command` with its output appended to `log`; it gets `death_signal` when this process ends.

    The child is in a session of its own: Ctrl-C in the terminal reaches the
    launcher alone, which then ends its children in order.
    """
    if log.exists() and log.stat().st_size > MAX_LOG_BYTES:
        log.replace(log.with_suffix(".old.log"))
    with log.open("ab") as output:
        return _forker.submit(
            subprocess.Popen,
            bound_to_parent(command, death_signal, prefix),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=cwd,
            env=environment,
            start_new_session=True,
        ).result()


def bound_to_parent(command: Sequence[str], death_signal: str, prefix: Sequence[str] = ()) -> list[str]:
    """Return `command` such that it gets `death_signal` when the thread that runs it ends.

    `prefix` is a command that changes the user before it runs the rest; the
    kernel forgets the signal at such a change, so that it has to come first.
    """
    setpriv = shutil.which("setpriv")
    if not setpriv:
        raise LauncherError("the program setpriv is missing: install util-linux")
    return [*prefix, setpriv, f"--pdeathsig={death_signal}", *command]


def end(process: subprocess.Popen[bytes], signals: Sequence[signal.Signals], grace_s: float) -> None:
    """Send each signal in turn until the process is gone, `grace_s` seconds apart, and SIGKILL at last."""
    for number in (*signals, signal.SIGKILL):
        if process.poll() is not None:
            return
        process.send_signal(number)
        process.send_signal(signal.SIGCONT)  # a frozen one would not hear it
        try:
            process.wait(grace_s)
        except subprocess.TimeoutExpired:
            continue


def holders(folder: Path, programs: Sequence[str]) -> Iterator[int]:
    """Yield the ids of processes that run one of `programs` and whose working directory is `folder`."""
    try:
        wanted = folder.stat()
    except FileNotFoundError:
        return
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and _works_in(entry, wanted, programs):
            yield int(entry.name)


def end_strangers(folder: Path, programs: Sequence[str], signals: Sequence[signal.Signals], grace_s: float) -> int:
    """End what still holds `folder` from an earlier launcher, and return how many processes that were.

    Call it only while holding the lock on `folder`: then nobody living owns them.
    """
    ended = 0
    for number in (*signals, signal.SIGKILL):
        files = [_open_stranger(pid, folder, programs) for pid in holders(folder, programs)]
        files = [file for file in files if file is not None]
        if not files:
            break
        ended = max(ended, len(files))
        for file in files:
            _send(file, number)
            _send(file, signal.SIGCONT)  # a frozen one would not hear it
        _wait_all(files, grace_s)
    return ended


def tail(log: Path, max_bytes: int = 600) -> str:
    """Return the end of a log file on one line, for an error message."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - max_bytes))
            return " | ".join(file.read().decode(errors="replace").split("\n")[-6:]).strip(" |")
    except OSError:
        return "no log"


def _works_in(process: Path, folder: os.stat_result, programs: Sequence[str]) -> bool:
    try:
        # A program that was replaced meanwhile, by a reinstallation, reads "… (deleted)".
        program = (process / "exe").readlink().name.removesuffix(" (deleted)")
        place = (process / "cwd").stat()
    except OSError:  # gone, a zombie, a kernel thread or another user's
        return False
    return program in programs and (place.st_dev, place.st_ino) == (folder.st_dev, folder.st_ino)


def _open_stranger(pid: int, folder: Path, programs: Sequence[str]) -> int | None:
    """Return a descriptor of the process, which stays true to it even if the id is given away again."""
    try:
        file = os.pidfd_open(pid)
    except OSError:
        return None
    if pid in holders(folder, programs):
        return file
    os.close(file)
    return None


def _send(file: int, number: signal.Signals) -> None:
    try:
        signal.pidfd_send_signal(file, number)
    except ProcessLookupError:
        return


def _wait_all(files: list[int], timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    for file in files:
        poll = select.poll()
        poll.register(file, select.POLLIN)
        poll.poll(max(0.0, deadline - time.monotonic()) * 1000)
        os.close(file)
