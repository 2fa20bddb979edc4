"""The guard ends what is frozen, with all that it started, and nothing that works."""

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Generator

import psutil
import pytest

from deployments.infra.liveness import guard as guard_module
from deployments.infra.liveness.guard import Guard
from deployments.infra.liveness.processes import BUSY, Stillness, activity, descendants

LOOK_S = 0.1
CHILD = "import subprocess, sys, time; subprocess.Popen(['sleep', '60']); print('ready', flush=True); {}"
ENDING = """
import os, signal
from deployments.infra.liveness.processes import activity, descendants
signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel removes what has ended at once
for _ in range(200):
    if (pid := os.fork()) == 0:
        os._exit(0)
    while activity(pid) is not None:
        descendants(pid)
"""
SLEEPS, COMPUTES = "time.sleep(60)", "[i for i in iter(int, 1)]"


@pytest.fixture(autouse=True)
def short_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard_module, "GRACE_S", 1.0)


@contextlib.contextmanager
def process(does: str) -> Generator[subprocess.Popen[str]]:
    with subprocess.Popen([sys.executable, "-S", "-c", CHILD.format(does)], stdout=subprocess.PIPE, text=True) as one:
        assert one.stdout is not None
        assert one.stdout.readline() == "ready\n"
        started = descendants(one.pid)
        try:
            yield one
        finally:
            for pid in [*started, one.pid]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


@contextlib.contextmanager
def guarded(pid: int) -> Generator[tuple[threading.Thread, int]]:
    """Yield a guard's thread, and where the replica writes."""
    reading, writing = os.pipe()
    thread = threading.Thread(target=Guard(pid, LOOK_S).watch, args=(reading,))
    thread.start()
    try:
        yield thread, writing
    finally:
        os.close(writing)
        thread.join(20)
        os.close(reading)


def beat(writing: int) -> None:
    """Write as a replica does, and return once that is read."""
    os.write(writing, b".")
    wait_until(lambda: fcntl.ioctl(writing, termios.FIONREAD, bytes(4)) == bytes(4))


def wait_until(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.01)


def is_gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_a_stopped_process_is_ended_with_what_it_started() -> None:
    with process(COMPUTES) as one, guarded(one.pid) as (guard, writing):
        [child] = descendants(one.pid)
        os.write(writing, b".")
        one.send_signal(signal.SIGSTOP)
        guard.join(20)
        assert not guard.is_alive()
        assert one.wait(5) == -signal.SIGKILL
        assert is_gone(child)


def test_one_whose_threads_all_wait_is_ended() -> None:
    with process(SLEEPS) as one, guarded(one.pid) as (guard, _):
        guard.join(20)
        assert one.wait(5) == -signal.SIGKILL


def test_one_that_works_is_not_however_long_it_says_nothing() -> None:
    with process(COMPUTES) as one, guarded(one.pid) as (guard, _):
        guard.join(40 * LOOK_S)
        assert guard.is_alive()
        assert one.poll() is None


def test_one_that_writes_is_not() -> None:
    with process(SLEEPS) as one, guarded(one.pid) as (guard, writing):
        for _ in range(40):
            os.write(writing, b".")
            time.sleep(LOOK_S)
        assert guard.is_alive()
        assert one.poll() is None


def test_what_an_ended_process_has_left_is_ended_after_a_grace() -> None:
    with process(SLEEPS) as one:
        [child] = descendants(one.pid)
        with guarded(one.pid) as (_, writing):
            beat(writing)
            beat(writing)  # read only when what the process has started is noted
            one.kill()
            one.wait()
            assert not is_gone(child)
        wait_until(lambda: is_gone(child))


def fall_asleep(pid: int) -> None:
    """Wait until a process does nothing any more: on a busy machine that takes a moment."""
    deadline = time.monotonic() + 10
    while (seen := activity(pid)) is None or seen.states & BUSY:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_first_look_at_a_process_says_nothing_of_it() -> None:
    with process(SLEEPS) as one:
        fall_asleep(one.pid)
        still = Stillness()
        assert [still.look([one.pid]) for _ in range(3)] == [0, 1, 2]
        still.reset()
        assert still.look([one.pid]) == 0
        assert still.look([]) == 0


def test_nothing_is_known_of_a_process_that_has_ended() -> None:
    with process(SLEEPS) as one:
        assert activity(one.pid) is not None
        one.kill()
        assert activity(one.pid) is None or one.wait()
        assert activity(one.pid) is None


def test_a_process_may_end_at_any_moment_of_a_look() -> None:
    looking = subprocess.run([sys.executable, "-c", ENDING], capture_output=True, text=True, timeout=60)
    assert looking.returncode == 0, looking.stderr
