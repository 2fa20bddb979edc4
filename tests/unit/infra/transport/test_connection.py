"""Connections between two ends in one event loop, plain and encrypted, on asyncio's and uvloop's transports."""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace

import pytest
import uvloop

from deployments.infra.transport import connection as connection_module
from deployments.infra.transport.client import ConnectionPool, connect
from deployments.infra.transport.connection import PROBES, UNSENT, Connection
from deployments.infra.transport.framing import CHANNEL_BYTES, FRAMES, Frame
from deployments.infra.transport.server import Address, Server
from deployments.infra.transport.tls import WrongCertificate, is_loopback

HOST = "127.0.0.1"
CHANNEL = bytes(CHANNEL_BYTES)
LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}


class Inbox:
    """Keeps what comes, and answers each frame with itself if it `echoes`."""

    def __init__(self, echoes: bool = False) -> None:
        self.frames: asyncio.Queue[Frame] = asyncio.Queue()
        self.losses = 0
        self._echoes = echoes

    def receive(self, connection: Connection, frame: Frame) -> None:
        if frame.payload == b"nonsense":
            raise ValueError(frame.payload)
        self.frames.put_nowait(frame)
        self.met = connection
        if self._echoes:
            connection.write(*frame)

    def lost(self, connection: Connection) -> None:
        self.losses += 1

    async def next(self) -> bytes:
        async with asyncio.timeout(5):
            return (await self.frames.get()).payload


class Ends:
    """A server whose end echoes, and its address."""

    def __init__(self) -> None:
        self.far = Inbox(echoes=True)
        self.near = Inbox()
        self.server = Server(lambda: self.far, max_frame_bytes=4 * 1024 * 1024)
        self.address = Address("", 0, b"")


Test = Callable[[Ends], Awaitable[None]]


@pytest.fixture(params=[f"{loop} {kind}" for loop in LOOPS for kind in ("plain", "encrypted")])
def run(request: pytest.FixtureRequest) -> Callable[[Test], None]:
    loop, kind = request.param.split()

    def run_(test: Test) -> None:
        async def main() -> None:
            ends = Ends()
            ends.address = await ends.server.open(HOST, kind == "encrypted")
            assert bool(ends.address.fingerprint) == (kind == "encrypted")
            try:
                async with asyncio.timeout(20):
                    await test(ends)
            finally:
                await ends.server.aclose()
                await asyncio.sleep(0.05)

        with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
            runner.run(main())

    return run_


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not holds():
            await asyncio.sleep(0.005)


def test_frames_go_both_ways_in_their_order(run: Callable[[Test], None]) -> None:
    async def test(ends: Ends) -> None:
        connection = await connect(ends.address, ends.near)
        sent = [b"%d" % number for number in range(100)] + [b"x" * 1_000_000]
        for payload in sent:
            connection.write(CHANNEL, FRAMES, payload)
        assert [await ends.far.next() for _ in sent] == sent
        assert [await ends.near.next() for _ in sent] == sent
        connection.close()
        await until(lambda: ends.far.losses and ends.near.losses)

    run(test)


def test_the_kernel_misses_a_machine_that_vanishes(run: Callable[[Test], None]) -> None:
    async def test(ends: Ends) -> None:
        connection = await connect(ends.address, ends.near)
        await until(lambda: connection.is_local)
        connection.write(CHANNEL, FRAMES, b"hello")
        await ends.near.next()
        for end, options in ((connection, UNSENT), (ends.far.met, PROBES)):
            found = end._transport.get_extra_info("socket")
            tcp = {name: found.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)) for name in options}
            assert found.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) and tcp == options
        connection.close()

    run(test)


def test_a_wrong_secret_gets_nothing_in(run: Callable[[Test], None]) -> None:
    async def test(ends: Ends) -> None:
        connection = await connect(replace(ends.address, secret=bytes(32)), ends.near)
        connection.write(CHANNEL, FRAMES, b"forged")
        await until(lambda: connection.is_lost)
        assert ends.far.frames.empty()

    run(test)


def test_what_is_no_frame_closes_the_connection(run: Callable[[Test], None]) -> None:
    async def test(ends: Ends) -> None:
        connection = await connect(ends.address, ends.near)
        connection.write(CHANNEL, FRAMES, b"nonsense")
        await until(lambda: connection.is_lost)

    run(test)


def test_whoever_does_not_authenticate_is_hung_up_on(
    run: Callable[[Test], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_module, "HANDSHAKE_TIMEOUT_S", 0.2)

    async def test(ends: Ends) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if ends.address.fingerprint else None
        if context:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        reader, writer = await asyncio.open_connection(HOST, ends.address.port, ssl=context)
        with suppress(ConnectionResetError):
            assert await reader.read() == b""
        writer.close()

    run(test)


def test_what_waits_for_an_end_that_does_not_read_is_bounded(run: Callable[[Test], None]) -> None:
    async def test(ends: Ends) -> None:
        connection = await connect(ends.address, ends.near)
        await until(lambda: ends.server._connections)
        [accepted] = ends.server._connections
        assert accepted._transport
        accepted._transport.pause_reading()
        for _ in range(64):
            connection.write(CHANNEL, FRAMES, b"x" * 1_000_000)
            await asyncio.sleep(0)
        waiting = asyncio.create_task(connection.writable())
        await asyncio.sleep(0.05)
        assert not waiting.done()
        accepted._transport.resume_reading()
        await waiting
        connection.abort()

    run(test)


def test_a_pool_keeps_one_connection_and_replaces_a_lost_one(run: Callable[[Test], None]) -> None:
    async def test(ends: Ends) -> None:
        pool = ConnectionPool(ends.near)
        first, second = await asyncio.gather(pool.get(ends.address), pool.get(ends.address))
        first.write(CHANNEL, FRAMES, b"once")
        assert await ends.near.next() == b"once"
        assert first is second and len(ends.server._connections) == 1
        first.abort()
        third = await pool.get(ends.address)
        assert third is not first
        third.write(CHANNEL, FRAMES, b"again")
        assert await ends.near.next() == b"again"
        pool.close()
        await until(lambda: ends.far.losses == 2)

    run(test)


def test_a_discarded_connection_ends_at_once_and_is_made_anew(run: Callable[[Test], None]) -> None:
    async def test(ends: Ends) -> None:
        pool = ConnectionPool(ends.near)
        pool.discard(ends.address)  # there is none
        first = await pool.get(ends.address)
        pool.discard(ends.address)
        assert first.is_lost
        second = await pool.get(ends.address)
        assert second is not first and not second.is_lost
        pool.close()
        await until(lambda: ends.far.losses == 2)

    run(test)


def test_an_attempt_that_is_discarded_connects_no_more(run: Callable[[Test], None]) -> None:
    async def test(ends: Ends) -> None:
        pool = ConnectionPool(ends.near)
        waiting = asyncio.create_task(pool.get(ends.address))
        await asyncio.sleep(0)
        pool.discard(ends.address)
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert not ends.server._connections
        await pool.get(ends.address)
        pool.close()

    run(test)


def test_a_server_that_is_gone_cannot_be_reached(run: Callable[[Test], None]) -> None:
    async def test(ends: Ends) -> None:
        await ends.server.aclose()
        with pytest.raises(ConnectionError):
            await ConnectionPool(ends.near).get(ends.address)

    run(test)


async def test_another_server_does_not_get_the_secret() -> None:
    ends, impostor = Ends(), Server(lambda: Inbox())
    expected = await ends.server.open(HOST, True)
    other = await impostor.open(HOST, True)
    impostor._secret = expected.secret  # it would let us in
    with pytest.raises(WrongCertificate):
        await connect(replace(expected, port=other.port), ends.near)
    await asyncio.sleep(0.05)
    assert not any(accepted._has_secret for accepted in impostor._connections)
    for server in (ends.server, impostor):
        await server.aclose()


async def test_what_crosses_between_machines_is_encrypted_unless_told_otherwise() -> None:
    for host, is_encrypted, has_certificate in [
        ("127.0.0.1", None, False),
        ("0.0.0.0", None, True),
        ("0.0.0.0", False, False),
        ("127.0.0.1", True, True),
    ]:
        server = Server(lambda: Inbox())
        assert bool((await server.open(host, is_encrypted)).fingerprint) == has_certificate
        await server.aclose()


@pytest.mark.parametrize(
    ("host", "is_local"), [("127.0.0.1", True), ("::1", True), ("localhost", True), ("10.0.0.1", False), ("n1", False)]
)
def test_what_is_loopback(host: str, is_local: bool) -> None:
    assert is_loopback(host) == is_local
