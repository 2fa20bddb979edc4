"""A stream that is generated on this replica: its numbered events, and how much of them is in the log."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial

from deployments.chat.call import Answer
from deployments.chat.continuation import Continuation
from deployments.chat.generation import Generation
from deployments.errors import ChatLLMError, Unavailable
from deployments.models.assembly import DONE, sse
from deployments.models.protocol import Failed, Frames, Reply
from deployments.streams.positions import Numbering, last_position, without_ids
from deployments.streams.store import Batch, StreamName

Begin = Callable[[], Awaitable[Answer]]
"""Return the answer, a stream, from its first frame on; raises a ChatLLMError."""
STOPPED = "The stream was stopped: nobody came back to it in time."

END = Reply(b"", 0, 0, "")


@dataclass(frozen=True, slots=True)
class Outcome:
    """Who is told how a stream ended on this replica, once: `ended`, or `left` to another one that goes on with it."""

    ended: Callable[[ChatLLMError | None, bool], None]
    """With None or why it failed, and whether that is because nobody read it any more."""
    leave: Callable[[], None]
    """Called before the work is given up for another replica, so that nothing of it is kept here."""
    left: Callable[[], None]


class RunningStream:
    """Generates a stream whether anybody reads it, until nobody has for `grace_s`."""

    def __init__(
        self,
        name: StreamName,
        key_id: str,
        begin: Begin,
        outcome: Outcome,
        grace_s: float,
        request: bytes = b"",
        sent: Sequence[bytes] | None = None,
        losses: int = 0,
    ) -> None:
        """`sent` is what so many lost replicas have left of the stream: the same answer again goes on behind it."""
        self.name = name
        self.key_id = key_id
        self.request = request
        self.is_left = False
        """Whether another replica goes on with it."""
        self.seen_at = 0.0
        """When the log was last told of it, by the event loop's clock."""
        self.is_too_large = False
        """Whether it has ended, and its log does not hold all of it."""
        self._outcome = outcome
        self._begin = begin
        self._sent = sent
        self._losses = losses
        self._logged = len(sent or ())
        self._end = last_position(sent[-1]).number + 1 if sent else 0
        self._numbering = Numbering()
        self._batch: Batch | None = None
        self.generation = Generation(self._generate, grace_s=grace_s)
        self.generation.add_done_callback(self._done)
        self.generation.subscribe().close()  # the grace begins even if its first reader never does

    def leave(self) -> None:
        """Stop for another replica, which goes on from what is in the log."""
        if self.generation.end is None:
            self.is_left = True
            self._outcome.leave()
            self.generation.stop()

    def rewrite(self) -> None:
        """Have the log written anew, from the first event on."""
        self._logged, self._batch = 0, None

    def batch(self, owner: bytes, ttl_s: float, max_bytes: int) -> Batch | None:
        """Return what the log lacks, the same until it is `written`; None if it lacks nothing.

        Past `max_bytes` it gets no events any more: the log of an answer that is too large goes with its end.
        """
        if self._batch is None:
            generation = self.generation
            is_last = generation.end is not None
            new = generation.frames(self._logged)
            if not new and not is_last:
                return None
            frames = b"".join(new)
            if is_last and (failure := self._failure()) is not None:
                frames += self._numbering.add(sse(failure.body("")))
            if frames:
                self._end = last_position(frames).number + 1
            if generation.size_bytes > max_bytes:
                frames = b""
            self._batch = Batch(self.name, self.key_id, owner, frames, self._end, ttl_s, is_last)
            self.is_too_large = is_last and generation.size_bytes > max_bytes
            self._logged += len(new)
        return self._batch

    def written(self, batch: Batch) -> None:
        """Note that a batch is in the log."""
        if self._batch is batch:
            self._batch = None

    def _failure(self) -> ChatLLMError | None:
        if self.generation.is_stopped:
            return Unavailable(STOPPED)
        end = self.generation.end
        return end.error if isinstance(end, Failed) else None

    async def _generate(self, generation: Generation) -> None:
        if self._sent and self._sent[-1].endswith(DONE):
            for data in self._sent:
                generation.put(Frames(data))
            generation.put(END)
            return
        if self._sent is not None and not self._sent:
            self._numbering.skip_gap(self._losses)  # what clients have seen is in no log
        put = self._repeated(generation, self._sent) if self._sent else partial(self._put, generation)
        answer = await self._begin()
        assert answer.frames is not None
        async with aclosing(answer.frames) as frames:
            async for data in frames:
                if data:
                    put(data)
                    if answer.divert is not None and not self._sent:
                        answer.divert(put)
        generation.put(END)

    def _put(self, generation: Generation, data: bytes) -> None:
        generation.put(Frames(self._numbering.add(data)))

    def _repeated(self, generation: Generation, sent: Sequence[bytes]) -> Callable[[bytes], None]:
        """Put what was sent before, and return what puts the rest of the same answer."""
        for data in sent:
            generation.put(Frames(data))
        last = last_position(sent[-1])
        self._numbering = Numbering(last.number + 1, last.letters or 0)
        self._numbering.skip_gap(self._losses)
        continuation = Continuation(without_ids(b"".join(sent)))

        def put(data: bytes) -> None:
            rest = continuation.rest(Frames(data.removesuffix(DONE)))
            if isinstance(rest, Failed):
                raise rest.error
            if isinstance(rest, Frames):
                self._put(generation, rest.data)
            if data.endswith(DONE):
                self._put(generation, DONE)

        return put

    def _done(self, generation: Generation) -> None:
        if self.is_left:
            self._outcome.left()
        else:
            self._outcome.ended(self._failure(), generation.is_stopped)
