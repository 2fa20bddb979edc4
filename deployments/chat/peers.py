"""Generations of other ingress replicas, and this replica's for them.

    here ── Subscribe(a stream of ours) ──▶ the replica that generates
    stream ◀── an empty frame: yes · all frames so far · the live tail · the end
           ◀── Leave: not here, or no longer

An empty frame follows whenever nothing else did for a second. So a replica that is lost, frozen or cut off is
noticed by its silence.
"""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import closing, suppress
from dataclasses import replace
from hashlib import blake2b
from typing import Any

import msgspec

from deployments.chat.generation import Generation, Subscription
from deployments.errors import ChatLLMError, Unavailable
from deployments.infra.transport.framing import CHANNEL_BYTES
from deployments.infra.transport.server import Address
from deployments.models.delivery.listener import Listener, Stream
from deployments.models.delivery.sender import Delivery
from deployments.models.delivery.wire import Control, Destination, Leave, Subscribe
from deployments.models.protocol import Failed, Frames, Message, Progress, Put, Reply, Restarted, Usage

logger = logging.getLogger(__name__)

ANSWER_TIMEOUT_S = 2.0
HEARTBEAT_S = 1.0
SILENCE_S = 5.0
ARRIVAL_S = 0.3
"""How long a generation that was claimed here may take to start: whoever claimed it hears of it last."""

HEARTBEAT = Frames(b"")


class PeerLost(Exception):
    """The other replica does not have the generation, or is lost itself."""


class Peers:
    """The generations of other ingress replicas for this one, and its own for them."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._delivery = Delivery()
        self._finders: list[Callable[[bytes], Generation | None]] = []
        self._tasks: dict[bytes, asyncio.Task[None]] = {}

    def serve(self, find: Callable[[bytes], Generation | None]) -> None:
        """Give others the generations that `find` returns for their streams, besides those of earlier calls."""
        self._finders.append(find)
        self._listener.on_control = self._receive

    @property
    def address(self) -> bytes:
        """Where others ask for the generations of this replica; whoever knows it may: keep it secret."""
        return msgspec.msgpack.encode(self._listener.address)

    def stream(self, name: str) -> bytes:
        """Return the stream of a generation of this replica; nobody can guess it without knowing its address."""
        return _stream(name, self._listener.address.secret)

    async def relay(self, address: bytes, name: str, put: Put) -> None:
        """Pass the messages of a generation elsewhere to `put`, from the first on; may raise PeerLost at any point."""
        owner = msgspec.msgpack.decode(address, type=Address)
        there = Destination(owner, _stream(name, owner.secret))
        relay = _Relay(put)
        stream = relay.stream = self._listener.stream(relay.receive)
        try:
            await self._send(Subscribe(stream.destination), there)
            await relay.ended()
        except Unavailable:
            raise PeerLost from None
        finally:
            stream.close()
            if not stream.has_ended:
                self._start(stream.destination.stream, self._try_to_send(Leave(stream.destination.stream), there))

    async def aclose(self) -> None:
        """Close all connections: those who read generations of this replica go on without it."""
        for task in list(self._tasks.values()):
            task.cancel()
        self._delivery.close()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _send(self, control: Control, there: Destination) -> None:
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                await self._delivery.send(control, there)
        except TimeoutError:
            raise Unavailable from None

    async def _try_to_send(self, control: Control, there: Destination) -> None:
        with suppress(ChatLLMError):
            await self._send(control, there)

    def _receive(self, stream: bytes, control: Control) -> None:
        match control:
            case Subscribe(to):
                self._start(to.stream, self._serve(stream, to))
            case Leave(left):
                if task := self._tasks.get(left):
                    task.cancel()
                self._listener.lose(left)

    def _start(self, stream: bytes, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name="generation-peer")
        self._tasks[stream] = task
        task.add_done_callback(lambda _: self._tasks.pop(stream, None))

    async def _serve(self, stream: bytes, to: Destination) -> None:
        generation = await self._arrived(stream)
        if generation is not None:
            with suppress(ChatLLMError), closing(generation.subscribe()) as subscription:
                await self._delivery.deliver(_messages(subscription), to)
        if generation is None or generation.is_stopped:
            await self._try_to_send(Leave(to.stream), to)

    async def _arrived(self, stream: bytes) -> Generation | None:
        for _ in range(round(ARRIVAL_S / 0.01)):
            if generation := next((found for find in self._finders if (found := find(stream))), None):
                return generation
            await asyncio.sleep(0.01)
        return None


class _Relay:
    """What arrives from another replica, less its heartbeats."""

    def __init__(self, put: Put) -> None:
        self.stream: Stream | None = None
        self._put = put
        self._heard_at = time.monotonic()
        self._patience_s = ANSWER_TIMEOUT_S
        self._ended = asyncio.Event()

    def receive(self, message: Message | Progress | Restarted) -> None:
        """Take a message; the one that reports the loss of the stream is not passed on."""
        self._heard_at, self._patience_s = time.monotonic(), SILENCE_S
        if isinstance(message, Reply | Failed):
            self._ended.set()
            if self.stream is not None and self.stream.is_lost:
                return
        if message != HEARTBEAT:
            self._put(message)

    async def ended(self) -> None:
        """Return once the last message is here; raises PeerLost if the stream is lost or stays silent."""
        while not self._ended.is_set():
            left_s = self._heard_at + self._patience_s - time.monotonic()
            if left_s <= 0:
                raise PeerLost
            with suppress(TimeoutError):
                async with asyncio.timeout(left_s):
                    await self._ended.wait()
        if self.stream is not None and not self.stream.has_ended:
            raise PeerLost


async def _messages(subscription: Subscription) -> AsyncGenerator[Message | Progress]:
    """Yield the messages of a generation, and heartbeats; if it is aborted, that is a failure for its own readers."""
    yield HEARTBEAT
    reported = Usage()
    while True:
        try:
            data = await subscription.next(HEARTBEAT_S)
        except TimeoutError:
            yield HEARTBEAT
            continue
        except ChatLLMError as error:
            if not subscription.is_stopped:
                yield Failed(error)
            return
        if subscription.usage != reported:
            reported = replace(subscription.usage)
            yield Progress(reported.prompt_tokens, reported.completion_tokens)
        if data is None:
            yield await subscription.reply()
            return
        yield Frames(data)


def _stream(name: str, secret: bytes) -> bytes:
    return blake2b(name.encode(), key=secret, digest_size=CHANNEL_BYTES).digest()
