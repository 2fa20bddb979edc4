"""A replica's side of its guard (guard.py), and how a replica ends itself."""

import asyncio
import logging
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

import deployments
from deployments.infra.detached import detached
from deployments.infra.liveness.processes import descendants, kill

logger = logging.getLogger(__name__)

BEAT_S = 1.0
ROOT = str(Path(deployments.__file__).parents[1])


class Guarded:
    """Has this process ended when its event loop stands still and nothing in it works any more."""

    def __init__(self) -> None:
        """Start the guard; to be called in the event loop, once loading, which may block it, is over."""
        self._process = _start()
        self._beating = detached(self._beat(), "beats of the guard")

    def close(self) -> None:
        """Have no guard any longer, as when the event loop ends."""
        self._beating.cancel()

    async def _beat(self) -> None:
        try:
            while True:
                self._write()
                await asyncio.sleep(BEAT_S)
        finally:
            self._end()

    def _write(self) -> None:
        if self._process.poll() is not None:
            logger.warning("the replica's guard has ended, and is started again")
            self._end()
            self._process = _start()
        assert self._process.stdin is not None
        with suppress(BlockingIOError, BrokenPipeError):  # the guard is frozen itself, or has ended
            os.write(self._process.stdin.fileno(), b".")

    def _end(self) -> None:
        self._process.kill()
        self._process.wait()
        assert self._process.stdin is not None
        self._process.stdin.close()


def end_this_process(reason: str) -> NoReturn:
    """End this process at once, with all that it started, as if it were killed: its connections close with it."""
    logger.critical("the replica exits: %s", reason)
    kill(descendants(os.getpid()))
    os._exit(1)


def _start() -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-S", "-m", f"{deployments.__name__}.infra.liveness.guard", str(os.getpid())]
    process = subprocess.Popen(  # noqa: S603 - this interpreter and a module of this package
        command, stdin=subprocess.PIPE, env={**os.environ, "PYTHONPATH": ROOT}, bufsize=0
    )
    assert process.stdin is not None
    os.set_blocking(process.stdin.fileno(), False)
    return process
