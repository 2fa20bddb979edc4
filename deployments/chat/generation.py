"""One answer while it is generated: its bytes, how it ends, and everybody who waits for it.

A `Generation` runs its source in a task of its own, so that no subscriber's end hurts another. The source
puts messages in, synchronously, from wherever they arrive; each subscriber takes the bytes at its own pace
from the one buffer. A failure of any kind ends the generation once, and every subscriber sees it.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from deployments.chat.continuation import Continuation
from deployments.chat.renaming import Renaming
from deployments.errors import ChatLLMError, Overloaded, Unavailable
from deployments.infra.detached import detached
from deployments.infra.traces import trace
from deployments.models.protocol import Failed, Frames, Message, Progress, Reply, Restarted, Usage

logger = logging.getLogger(__name__)

MAX_JOINABLE_BYTES = 8 * 1024 * 1024
"""Past it nobody can join any more."""
MAX_UNREAD_BYTES = 16 * 1024 * 1024
"""What may wait for one subscriber before it is given up, so that a slow client does not hold memory."""
ABORT_S = 0.0
FINISH_S = float("inf")

Sink = Callable[[bytes], None]
Source = Callable[["Generation"], Awaitable[None]]
"""Puts the messages of an answer into a generation and returns after the last; cancelling it ends the work."""


class Generation:
    """One answer. Its source starts at once; `on_closed` is called once, when nobody can join any more."""

    def __init__(
        self, source: Source, on_closed: Callable[["Generation"], None] | None = None, grace_s: float = ABORT_S
    ) -> None:
        """Once the last subscriber has left an unfinished generation, it is aborted after `grace_s`.

        That is at once (`ABORT_S`), or never (`FINISH_S`).
        """
        self.usage = Usage()
        self.size_bytes = 0
        self.is_open = True
        self.is_stopped = False
        self.is_relayed = False
        """Whether it comes from another ingress replica, where it is paid for."""
        self.on_reply: Callable[[Reply, bytes], None] | None = None
        """Called with the whole answer and all its frames."""
        self._on_closed = on_closed
        self._grace_s = grace_s
        self._frames: list[bytes] = []
        self._end: Reply | Failed | None = None
        self._when_ended: list[Callable[[], None]] = []
        self._continuation: Continuation | None = None
        self._subscriptions: set[Subscription] = set()
        self._was_subscribed = False
        self._abandoned: asyncio.TimerHandle | None = None
        self._task = detached(self._run(source), "generation")

    @property
    def end(self) -> Reply | Failed | None:
        """How it ended; None while it goes on."""
        return self._end

    @property
    def is_whole(self) -> bool:
        """Whether the whole answer is there."""
        return isinstance(self._end, Reply)

    def put(self, message: Message | Progress | Restarted) -> None:
        """Take the next message from the source; after the end, nothing is taken any more.

        Never raises: it is called by the connection that all streams of a replica share.
        """
        if self._end is not None:
            return None
        if isinstance(message, Progress):
            return message.note_in(self.usage)
        if isinstance(message, Restarted):
            return self.restart()
        rest = message if self._continuation is None else self._unsent(self._continuation, message)
        if isinstance(rest, Frames):
            self._add(rest.data)
        elif rest is not None:
            self._finish(rest)
            if isinstance(rest, Failed):
                self._task.cancel()  # the source may still be at work
        return None

    def _unsent(self, continuation: Continuation, message: Message) -> Message | None:
        """Return what of a message was not sent before the restart; a failure where it cannot be read."""
        try:
            return continuation.rest(message)
        except Exception as error:  # noqa: BLE001 - whatever a replica sent, it ends this generation alone
            logger.error("a message that continues an answer could not be read: %s", trace(error))
            return Failed(ChatLLMError())

    def restart(self) -> None:
        """Note that the source was lost and starts again: what it repeats is compared with what was sent, and left out.

        The answer ends in failure where the two differ.
        """
        self._continuation = Continuation(self.sent()) if self._frames else None

    def sent(self, end: int | None = None) -> bytes:
        """Return the first `end` frames that were put, together; by default all."""
        return b"".join(self._frames[:end])

    def subscribe(self, reply_id: str = "") -> "Subscription":
        """Return a subscription from the first frame on, which must be closed; `reply_id` replaces the answer's id."""
        if self._abandoned is not None:
            self._abandoned.cancel()
            self._abandoned = None
        subscription = Subscription(self, reply_id, is_first=not self._was_subscribed)
        self._was_subscribed = True
        self._subscriptions.add(subscription)
        return subscription

    def unsubscribe(self, subscription: "Subscription") -> None:
        """Forget a subscription; without any, an unfinished generation is aborted as its policy says."""
        self._subscriptions.discard(subscription)
        if self._subscriptions or self._end is not None or self._grace_s == FINISH_S:
            return
        if self._grace_s:
            self._abandoned = asyncio.get_running_loop().call_later(self._grace_s, self.stop)
        else:
            self.stop()

    def stop(self) -> None:
        """Abort the generation; whoever reads an unfinished one sees a failure."""
        if self._end is None:
            self.is_stopped = True
            self._finish(Failed(_cancelled()))
        self._task.cancel()

    def add_done_callback(self, callback: Callable[["Generation"], None]) -> None:
        """Call `callback` once the source has returned, which can be after the end."""
        self._task.add_done_callback(lambda _: callback(self))

    def when_ended(self, callback: Callable[[], None]) -> None:
        """Call `callback` once the generation has ended: at once if it has."""
        if self._end is None:
            self._when_ended.append(callback)
        else:
            callback()

    async def ended(self) -> None:
        """Return once its source has returned, too."""
        await asyncio.wait((self._task,))

    def frames(self, start: int) -> list[bytes]:
        """Return the frames from that number on."""
        return self._frames[start:]

    async def _run(self, source: Source) -> None:
        failure = ChatLLMError("The model ended without an answer.")
        try:
            await source(self)
        except ChatLLMError as error:
            failure = error
        except asyncio.CancelledError:
            failure = _cancelled()
            raise
        except Exception as error:  # noqa: BLE001 - the boundary of a generation: all who wait for it hear of its end
            logger.error("unexpected error: %s", trace(error))
            failure = ChatLLMError()
        finally:
            if self._end is None:
                self._finish(Failed(failure))

    def _add(self, data: bytes) -> None:
        self._frames.append(data)
        self.size_bytes += len(data)
        if self.is_open and self.size_bytes > MAX_JOINABLE_BYTES:
            self._close()
        for subscription in self._subscriptions:
            subscription.note_frame(len(data))

    def _finish(self, end: Reply | Failed) -> None:
        self._end = end
        if isinstance(end, Reply) and self.on_reply is not None:
            self.on_reply(end, self.sent())
        self._close()
        for subscription in self._subscriptions:
            subscription.wake()
        callbacks, self._when_ended = self._when_ended, []
        for callback in callbacks:
            callback()

    def _close(self) -> None:
        if self.is_open:
            self.is_open = False
            if self._on_closed is not None:
                self._on_closed(self)


class Subscription:
    """One reader's place in a generation. Take its frames with `next` or the whole with `reply`, and close it."""

    def __init__(self, generation: Generation, reply_id: str, is_first: bool) -> None:
        """`is_first`: the generation began for this reader, whose request pays for it."""
        self.generation = generation
        self.is_first = is_first
        self._renaming = Renaming(reply_id) if reply_id else None
        self._at = 0
        self._unread_bytes = generation.size_bytes
        self._is_overrun = False
        self._awaits_frames = False
        self._sink: Sink | None = None
        self._is_diverted = False
        self._failure: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None

    @property
    def usage(self) -> Usage:
        """What the generation has used so far."""
        return self.generation.usage

    @property
    def is_stopped(self) -> bool:
        """Whether the generation was aborted here, not failed by its source."""
        return self.generation.is_stopped

    def taken(self) -> bytes:
        """Return all frames that were taken so far."""
        data = self.generation.sent(self._at)
        return self._renaming.frames(data) if self._renaming and data else data

    def divert(self, sink: Sink) -> None:
        """Give what comes to `sink` from the following `next` on, which then returns None once all has come.

        It is called as each frame arrives, which spares a switch between tasks for each. What it raises, `next` does.
        """
        self._sink = sink

    async def next(self, timeout_s: float | None = None) -> bytes | None:
        """Return the frames that have come since, together; None once the answer is complete.

        Raises the ChatLLMError with which the generation failed, Overloaded for a reader that is 16 MiB behind,
        and TimeoutError.
        """
        generation = self.generation
        if self._sink is not None:
            self._is_diverted = True
            self._pour(self._sink)
        while True:
            if self._failure is not None:
                raise self._failure
            if self._is_overrun:
                raise Overloaded("The answer was not read fast enough.", None, 1.0)
            if not self._is_diverted and (data := self._unread()):
                return data
            if generation.end is not None:
                _raise_failure(generation.end)
                return None
            self._awaits_frames = True
            await self._wait(timeout_s)

    async def reply(self, timeout_s: float | None = None) -> Reply:
        """Return the whole answer once it is complete.

        Raises the ChatLLMError with which the generation failed, and TimeoutError.
        """
        self._awaits_frames = False
        while (end := self.generation.end) is None:
            await self._wait(timeout_s)
        reply = _raise_failure(end)
        return self._renaming.reply(reply) if self._renaming else reply

    def close(self) -> None:
        """Leave; whoever leaves last aborts an unfinished generation, as its policy says."""
        self._sink, self._is_diverted = None, False
        self.generation.unsubscribe(self)

    def _unread(self) -> bytes:
        frames = self.generation.frames(self._at)
        if not frames:
            return b""
        self._at += len(frames)
        self._unread_bytes = 0
        data = frames[0] if len(frames) == 1 else b"".join(frames)
        return self._renaming.frames(data) if self._renaming else data

    def _pour(self, sink: Sink) -> None:
        try:
            if data := self._unread():
                sink(data)
        except Exception as error:  # noqa: BLE001 - the boundary of a reader: it fails alone, and `next` raises it
            self._is_diverted, self._sink, self._failure = False, None, error
            self.wake()

    def note_frame(self, size: int) -> None:
        """Note that a frame has come."""
        if self._is_diverted and self._sink is not None:
            self._pour(self._sink)
        elif self._awaits_frames or self._at:
            self._unread_bytes += size
            self._is_overrun = self._is_overrun or self._unread_bytes > MAX_UNREAD_BYTES
            self.wake()

    def wake(self) -> None:
        """Let the reader see what has changed."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _wait(self, timeout_s: float | None) -> None:
        # Not asyncio.timeout: this runs for every frame, and most of its cost is that of its objects.
        loop = asyncio.get_running_loop()
        waiter = self._waiter = loop.create_future()
        timer = None if timeout_s is None else loop.call_later(timeout_s, _expire, waiter)
        try:
            await waiter
        finally:
            self._waiter = None
            if timer is not None:
                timer.cancel()


def _expire(waiter: "asyncio.Future[None]") -> None:
    if not waiter.done():
        waiter.set_exception(TimeoutError())


def _cancelled() -> ChatLLMError:
    return Unavailable("The request was cancelled by the server.", None, 1.0)


def _raise_failure(end: Reply | Failed) -> Reply:
    """Return a reply; raise an error as each reader's own, since it collects a traceback where it is raised."""
    if isinstance(end, Reply):
        return end
    error = end.error
    raise type(error)(error.message, error.param, error.retry_after_s)
