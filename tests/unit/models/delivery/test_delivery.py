"""Both ends of the connections by which answers reach the ingress, in one event loop: asyncio's, then uvloop's."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from dataclasses import replace

import pytest
import uvloop

from deployments.errors import BodyTooLarge, Unavailable
from deployments.infra.heap import freeze_heap
from deployments.models.delivery import listener as listener_module
from deployments.models.delivery.listener import Listener
from deployments.models.delivery.sender import Delivery
from deployments.models.protocol import Failed, Frames, Message, Progress, Reply
from tests.stalls import watched_loop

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}
END = Reply(b"{}", 1, 2, "stop")


@pytest.fixture(params=LOOPS)
def run(request: pytest.FixtureRequest) -> Callable[[Callable[[Listener], Awaitable[None]]], None]:
    def run_(test: Callable[[Listener], Awaitable[None]]) -> None:
        async def main() -> None:
            listener = Listener()
            await listener.open("127.0.0.1")
            try:
                async with asyncio.timeout(20):
                    await test(listener)
            finally:
                await listener.aclose()
                await asyncio.sleep(0.05)

        with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
            runner.run(main())

    return run_


async def answer(*messages: Message, pause_s: float = 0.0) -> AsyncGenerator[Message]:
    for message in messages:
        yield message
        await asyncio.sleep(pause_s)


class Inbox:
    """A stream of a listener, whose messages wait for a test."""

    def __init__(self, listener: Listener) -> None:
        self._messages: asyncio.Queue[Message] = asyncio.Queue()
        self.stream = listener.stream(self._put)
        self.destination = self.stream.destination

    def _put(self, message: Message | Progress) -> None:
        assert not isinstance(message, Progress)
        self._messages.put_nowait(message)

    async def get(self, timeout_s: float) -> Message:
        async with asyncio.timeout(timeout_s):
            return await self._messages.get()

    async def rest(self) -> list[Message]:
        found: list[Message] = []
        while not found or isinstance(found[-1], Frames):
            found.append(await self.get(5))
        return found


async def test_a_machine_that_vanishes_before_the_first_token_is_missed() -> None:
    """To 127.0.0.2 one comes from another address, as to another machine."""
    listener, delivery, messages = Listener(), Delivery(), list[Message | Progress]()
    await listener.open("127.0.0.2", False)
    stream = listener.stream(messages.append)
    goes_on = asyncio.Event()

    async def prefill() -> AsyncGenerator[Message]:
        await goes_on.wait()
        yield END

    task = asyncio.create_task(delivery.deliver(prefill(), stream.destination))
    try:
        async with asyncio.timeout(5):
            while not messages:
                await asyncio.sleep(0.005)
        assert messages == [Progress(0, 0)]
        delivery._pool.discard(stream.destination.address)  # what the kernel does within seconds
        async with asyncio.timeout(5):
            while not stream.is_lost:
                await asyncio.sleep(0.005)
        assert isinstance(messages[-1], Failed)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await listener.aclose()


def test_messages_arrive_in_order_and_streams_apart(run: Callable) -> None:
    async def test(listener: Listener) -> None:
        delivery = Delivery()
        inboxes = [Inbox(listener) for _ in range(20)]
        sent = [[Frames(b"%d.%d " % (n, i)) for i in range(50)] for n in range(20)]
        tasks = [
            asyncio.create_task(delivery.deliver(answer(*frames, END), inbox.destination))
            for frames, inbox in zip(sent, inboxes, strict=True)
        ]
        for frames, inbox in zip(sent, inboxes, strict=True):
            *arrived, end = await inbox.rest()
            assert b"".join(frame.data for frame in arrived) == b"".join(frame.data for frame in frames)
            assert end == END
        await asyncio.gather(*tasks)

    run(test)


def test_the_first_frame_does_not_wait_for_the_second(run: Callable) -> None:
    async def test(listener: Listener) -> None:
        inbox = Inbox(listener)
        messages = answer(Frames(b"one"), Frames(b"two"), END, pause_s=30)
        task = asyncio.create_task(Delivery().deliver(messages, inbox.destination))
        assert await inbox.get(5) == Frames(b"one")
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    run(test)


def test_nothing_in_time_is_a_timeout(run: Callable) -> None:
    async def test(listener: Listener) -> None:
        with pytest.raises(TimeoutError):
            await Inbox(listener).get(0.05)

    run(test)


def test_a_lost_ingress_ends_the_generating(run: Callable) -> None:
    async def test(listener: Listener) -> None:
        closed = asyncio.Event()

        async def endless() -> AsyncGenerator[Message]:
            try:
                while True:
                    yield Frames(b"x")
                    await asyncio.sleep(0.01)
            finally:
                closed.set()

        inbox = Inbox(listener)
        task = asyncio.create_task(Delivery().deliver(endless(), inbox.destination))
        await inbox.get(5)
        await listener.aclose()
        async with asyncio.timeout(1):
            await closed.wait()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(test)


def test_a_lost_replica_fails_its_streams_alone(run: Callable) -> None:
    async def test(listener: Listener) -> None:
        lost, whole = Inbox(listener), Inbox(listener)
        first, second = Delivery(), Delivery()
        generating = [
            asyncio.create_task(first.deliver(answer(Frames(b"a"), END, pause_s=30), lost.destination)),
            asyncio.create_task(second.deliver(answer(Frames(b"b"), END, pause_s=0.3), whole.destination)),
        ]
        assert await lost.get(5) == Frames(b"a")
        (await first._connection(lost.destination)).abort()
        ended = await lost.get(5)
        assert isinstance(ended, Failed)
        assert isinstance(ended.error, Unavailable)
        assert await whole.rest() == [Frames(b"b"), END]
        await asyncio.gather(*generating, return_exceptions=True)

    run(test)


def test_what_another_replica_can_go_on_with_is_handed_over_and_the_rest_at_last(run: Callable) -> None:
    async def test(listener: Listener) -> None:
        movable, bound, late = Inbox(listener), Inbox(listener), Inbox(listener)
        delivery = Delivery()
        delivering = [
            asyncio.create_task(delivery.deliver(answer(Frames(b"a", b""), END, pause_s=30), movable.destination)),
            asyncio.create_task(delivery.deliver(answer(Frames(b"b"), END, pause_s=30), bound.destination)),
            asyncio.create_task(delivery.deliver(answer(END, pause_s=30), bound.destination, may_move=False)),
        ]
        assert [await movable.get(5), await bound.get(5)] == [Frames(b"a", b""), Frames(b"b")]
        delivery.hand_over()
        assert isinstance(await movable.get(5), Failed)
        assert movable.stream.is_handed_over and movable.stream.is_lost and not movable.stream.has_ended
        await delivering[0]  # the call ends as one whose answer is whole
        await delivery.deliver(answer(END), late.destination)
        assert isinstance(await late.get(5), Failed) and late.stream.is_handed_over
        assert not bound.stream.is_lost and not delivering[1].done() and not delivering[2].done()
        delivery.hand_over(everything=True)
        assert await bound.get(5) == END  # the third had sent it before
        await asyncio.gather(*delivering)

    run(test)


def test_a_client_that_leaves_while_its_answer_is_handed_over_has_left(run: Callable) -> None:
    async def test(listener: Listener) -> None:
        inbox, delivery = Inbox(listener), Delivery()
        delivering = asyncio.create_task(delivery.deliver(answer(Frames(b"a", b""), pause_s=30), inbox.destination))
        await inbox.get(5)
        delivery.hand_over()
        delivering.cancel()
        with pytest.raises(asyncio.CancelledError):
            await delivering

    run(test)


def test_an_ingress_that_is_gone_is_said(run: Callable) -> None:
    async def test(listener: Listener) -> None:
        destination = Inbox(listener).destination
        await listener.aclose()
        with pytest.raises(Unavailable, match="cannot reach the ingress"):
            await Delivery().deliver(answer(END), destination)

    run(test)


def test_a_wrong_secret_gets_nothing_in(run: Callable) -> None:
    async def test(listener: Listener) -> None:
        inbox = Inbox(listener)
        forged = replace(inbox.destination, address=replace(inbox.destination.address, secret=bytes(32)))
        with suppress(asyncio.CancelledError):
            await Delivery().deliver(answer(Frames(b"forged"), END, pause_s=0.2), forged)
        with pytest.raises(TimeoutError):
            await inbox.get(0.1)

    run(test)


def test_what_comes_for_a_closed_stream_is_dropped(run: Callable) -> None:
    async def test(listener: Listener) -> None:
        gone, here = Inbox(listener), Inbox(listener)
        gone.stream.close()
        delivery = Delivery()
        await delivery.deliver(answer(Frames(b"a"), END), gone.destination)
        await delivery.deliver(answer(Frames(b"b"), END), here.destination)
        assert await here.rest() == [Frames(b"b"), END]
        with pytest.raises(TimeoutError):
            await gone.get(0.05)

    run(test)


def test_a_large_reply_arrives_whole_and_lets_other_streams_go_on(run: Callable) -> None:
    async def test(listener: Listener) -> None:
        delivery, body = Delivery(), bytes(range(256)) * 200_000
        large, other = Inbox(listener), Inbox(listener)
        reply = Reply(body, 7, 8, "stop")
        ticks = answer(*[Frames(b"tick")] * 20, END)
        seen: list[bool] = []
        arrival = asyncio.create_task(large.get(10))
        tasks = [
            asyncio.create_task(delivery.deliver(answer(reply), large.destination)),
            asyncio.create_task(delivery.deliver(ticks, other.destination)),
        ]
        while isinstance(await other.get(10), Frames):
            seen.append(arrival.done())
        assert seen and not any(seen)
        assert await arrival == reply
        await asyncio.gather(*tasks)

    run(test)


def test_a_reply_without_end_is_a_failure(run: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener_module, "MAX_MESSAGE_BYTES", 3_000_000)

    async def test(listener: Listener) -> None:
        inbox = Inbox(listener)
        with suppress(Unavailable):
            await Delivery().deliver(answer(Reply(bytes(5_000_000), 1, 2, "stop")), inbox.destination)
        message = await inbox.get(5)
        assert isinstance(message, Failed) and isinstance(message.error, BodyTooLarge)
        assert not inbox.stream.has_ended

    run(test)


async def test_a_lost_connection_is_forgotten() -> None:
    listener, delivery = Listener(), Delivery()
    await listener.open("127.0.0.1")
    inbox = Inbox(listener)
    task = asyncio.create_task(delivery.deliver(answer(Frames(b"a"), END, pause_s=30), inbox.destination))
    await inbox.get(5)
    (await delivery._connection(inbox.destination)).abort()
    await asyncio.wait({task})
    assert task.cancelled() and not delivery._senders
    await listener.aclose()


@pytest.mark.alone
async def test_a_large_reply_does_not_occupy_the_loop() -> None:
    listener, delivery = Listener(), Delivery()
    await listener.open("127.0.0.1")
    inbox = Inbox(listener)
    reply = Reply(bytes(60_000_000), 7, 8, "stop")
    freeze_heap()
    with watched_loop() as occupied:
        task = asyncio.create_task(delivery.deliver(answer(reply), inbox.destination))
        assert await asyncio.create_task(inbox.get(20)) == reply
        await task
    await listener.aclose()
    assert occupied.longest_s < 0.08, occupied.callback
