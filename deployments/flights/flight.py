"""One generation and everybody who reads it.

                          ┌─▶ reader (the client that asked first)
    messages ──▶ Flight ──┼─▶ reader (one who came later: all that there is, at once, then what comes)
                          └─▶ reader (another ingress replica, for its own readers)

The work runs in a task of its own, so that no reader's end hurts another; when
the last one leaves, it is stopped, and with it the engine's.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from deployments.detached import detached
from deployments.errors import ChatLLMError, Overloaded
from deployments.models.protocol import Failed, Frames, Message, Reply
from deployments.traces import trace

logger = logging.getLogger(__name__)

MAX_KEPT_BYTES = 8 * 1024 * 1024
"""What is kept for those who come later; past it nobody can join any more."""


class Flight:
    """Runs `messages` to its end, or until nobody reads; `closed` is called once, when nobody can join any more."""

    def __init__(self, messages: AsyncGenerator[Message], closed: Callable[["Flight"], None]) -> None:
        self.is_open = True
        self.is_stopped = False
        self.kept_bytes = 0
        self._closed = closed
        self._frames: list[bytes] = []
        self._dropped = 0
        self._end: Reply | Failed | None = None
        self._readers: dict[object, int] = {}
        self._waiting: set[asyncio.Future[None]] = set()
        self._task = detached(self._run(messages), "flight")

    @property
    def is_whole(self) -> bool:
        """Whether the whole answer is there."""
        return isinstance(self._end, Reply)

    async def read(self) -> AsyncGenerator[Message]:
        """Yield the messages from the first on, frames that wait together as one; must be begun at once, and closed.

        A reader who is far behind a long answer ends with Overloaded.
        """
        reader, at = object(), 0
        try:
            while True:
                self._readers[reader] = at
                if at < self._dropped:
                    yield Failed(Overloaded("The answer was not read fast enough.", None, 1.0))
                    return
                frames = self._frames[at - self._dropped :]
                if frames:
                    at += len(frames)
                    yield Frames(b"".join(frames) if len(frames) > 1 else frames[0])
                elif self._end is not None:
                    yield _own(self._end)
                    return
                else:
                    await self._change()
        finally:
            del self._readers[reader]
            if not self._readers and self._end is None:
                self.stop()

    def stop(self) -> None:
        """Stop the work; who still reads has a failure."""
        self.is_stopped = True
        self._close()
        self._task.cancel()

    async def ended(self) -> None:
        """Return once the work is over."""
        await asyncio.wait((self._task,))

    async def _change(self) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.add(waiter)
        try:
            await waiter
        finally:
            self._waiting.discard(waiter)

    async def _run(self, messages: AsyncGenerator[Message]) -> None:
        end: Reply | Failed = Failed(ChatLLMError("The model ended without an answer."))
        try:
            async with aclosing(messages):
                async for message in messages:
                    if isinstance(message, Frames):
                        self._add(message.data)
                    else:
                        end = message
        except ChatLLMError as error:
            end = Failed(error)
        except Exception as error:  # noqa: BLE001 - the border of a flight: all who wait for it hear of its end
            logger.error("unexpected error: %s", trace(error))
            end = Failed(ChatLLMError())
        finally:
            self._end = end
            self._close()
            self._wake()

    def _add(self, data: bytes) -> None:
        self._frames.append(data)
        self.kept_bytes += len(data)
        if self.kept_bytes > MAX_KEPT_BYTES:
            self._close()
            self._drop()
        self._wake()

    def _drop(self) -> None:
        """Let go of what everybody has read, and in the end of what somebody has not."""
        read = min(self._readers.values(), default=0) - self._dropped
        while self._frames and (read > 0 or self.kept_bytes > 2 * MAX_KEPT_BYTES):
            self.kept_bytes -= len(self._frames.pop(0))
            self._dropped += 1
            read -= 1

    def _close(self) -> None:
        if self.is_open:
            self.is_open = False
            self._closed(self)

    def _wake(self) -> None:
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)


def _own(end: Reply | Failed) -> Reply | Failed:
    """Return the end for one reader: an error is raised by each, and collects a traceback where it is."""
    if isinstance(end, Reply):
        return end
    error = end.error
    return Failed(type(error)(error.message, error.param, error.retry_after_s))
