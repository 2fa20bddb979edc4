"""A replica whose process is frozen is missed by whoever reads its answers, and says nothing stale when it wakes up."""

import asyncio
import contextlib
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Generator

import pytest
import pytest_asyncio

from deployments.models.delivery import listener as listener_module
from deployments.models.delivery import sender
from deployments.models.delivery.listener import Listener
from deployments.models.delivery.sender import Delivery
from deployments.models.delivery.wire import Destination
from deployments.models.protocol import Failed, Frames, Message, Progress, Restarted

LOOK_S = 0.1


async def _answer(pause_s: float) -> AsyncGenerator[Message]:
    yield Frames(b"first")
    while True:
        await asyncio.sleep(pause_s)
        yield Frames(b"more")


async def _send(to: Destination, pause_s: float) -> None:
    sender.BEAT_S = 2 * LOOK_S
    await Delivery().deliver(_answer(pause_s), to)


@contextlib.contextmanager
def replica(to: Destination, pause_s: float) -> Generator["subprocess.Popen[bytes]"]:
    """Start a process that sends an answer until it is told to stop."""
    command = [sys.executable, "-m", __name__, pickle.dumps(to).hex(), str(pause_s)]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest_asyncio.fixture
async def listener(monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[Listener]:
    monkeypatch.setattr(listener_module, "LOOK_S", LOOK_S)
    listener = Listener()
    await listener.open("127.0.0.1")
    yield listener
    await listener.aclose()


class Inbox:
    """What comes of one answer."""

    def __init__(self, listener: Listener) -> None:
        self.messages: list[Message | Progress | Restarted] = []
        self.stream = listener.stream(self.messages.append)

    async def began(self) -> None:
        async with asyncio.timeout(20):
            while not self.messages:
                await asyncio.sleep(0.01)

    async def is_lost_within(self, seconds: float) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not self.stream.is_lost:
                    await asyncio.sleep(0.01)
        return self.stream.is_lost


FOUND_S = 2 * listener_module.SILENT_LOOKS * LOOK_S


async def test_a_frozen_replica_is_missed_and_sends_nothing_when_it_wakes_up(listener: Listener) -> None:
    inbox = Inbox(listener)
    with replica(inbox.stream.destination, 0.01) as process:
        await inbox.began()
        process.send_signal(signal.SIGSTOP)
        assert await inbox.is_lost_within(FOUND_S)
        assert isinstance(inbox.messages[-1], Failed)
        came = len(inbox.messages)
        process.send_signal(signal.SIGCONT)
        process.wait(20)  # its delivery is cancelled: nobody is there to read it
        assert b"CancelledError" in (process.stderr.read() if process.stderr else b"")
        await asyncio.sleep(5 * LOOK_S)
        assert len(inbox.messages) == came


async def test_one_that_has_nothing_to_send_for_long_is_not_missed(listener: Listener) -> None:
    inbox = Inbox(listener)
    with replica(inbox.stream.destination, 3600):
        await inbox.began()
        assert not await inbox.is_lost_within(2 * FOUND_S)


async def test_nor_is_one_that_does_not_beat_as_one_of_the_version_before(
    listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    inbox, delivery = Inbox(listener), Delivery()
    monkeypatch.setattr(delivery, "_beat", lambda: None)
    sending = asyncio.create_task(delivery.deliver(_answer(3600), inbox.stream.destination))
    await inbox.began()
    assert not await inbox.is_lost_within(2 * FOUND_S)
    sending.cancel()
    delivery.close()


async def test_what_came_while_the_listener_stood_still_counts(listener: Listener) -> None:
    inbox = Inbox(listener)
    with replica(inbox.stream.destination, 0.01):
        await inbox.began()
        for _ in range(2):
            stand_still(2 * FOUND_S)
            await asyncio.sleep(2 * LOOK_S)
        assert not inbox.stream.is_lost


def stand_still(seconds: float) -> None:
    time.sleep(seconds)


if __name__ == "__main__":
    asyncio.run(_send(pickle.loads(bytes.fromhex(sys.argv[1])), float(sys.argv[2])))
