"""Tasks with an owner, which keeps them, cancels them on close, and logs their failures."""

import asyncio
import logging
import traceback
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)

RESTART_S = 1.0
MAX_FRAMES = 4


class Tasks:
    """The tasks of one owner."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    def start(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Run `work` in the background; a failure is logged under `name`."""
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    async def settled(self) -> None:
        """Wait until all have ended."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def aclose(self) -> None:
        """Cancel all, and wait until they have ended."""
        for task in self._tasks:
            task.cancel()
        await self.settled()

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log_failure(f"the task {task.get_name()!r} failed", error)


async def forever(work: Callable[[], Awaitable[None]], name: str) -> None:
    """Run `work` until cancelled; restart it after `RESTART_S` seconds if it fails."""
    while True:
        try:
            await work()
        except Exception as error:  # noqa: BLE001  the border of the task: what depends on it must not stand still
            log_failure(f"{name} failed and begins again", error)
        await asyncio.sleep(RESTART_S)


async def close_each(*closings: Callable[[], Awaitable[None]]) -> None:
    """Close all, one after the other; failures are logged."""
    for close in closings:
        try:
            await close()
        except Exception as error:  # noqa: BLE001  the border of each
            log_failure("closing failed", error)


def log_failure(what: str, error: BaseException) -> None:
    """Log what failed and where, without the error's message, which may quote a prompt or an answer."""
    frames = traceback.extract_tb(error.__traceback__)[-MAX_FRAMES:]
    where = " > ".join(f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames)
    logger.error("%s: %s at %s", what, type(error).__name__, where or "an unknown place")
