"""The cache deployment's end of the connections against strangers, and the form of what crosses."""

import asyncio
import struct
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments import introduction
from deployments.cache import answering, wire
from deployments.cache.answering import LookupServer
from deployments.cache.claims import Claim
from deployments.cache.remote import Address, Found
from tests.unit.cache.test_connected import HOST, Replica


@pytest.fixture
def replica() -> Replica:
    return Replica()


async def stranger(server: LookupServer) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, Address]:
    address = await server.address(HOST)
    reader, writer = await asyncio.open_connection(address.host, address.port)
    return reader, writer, address


Bytes = Callable[[Address], bytes]
LONG = struct.pack(">II", wire.MAX_ASKED_BYTES + 1, 1)


@pytest.mark.parametrize(
    "told",
    [
        lambda _: bytes(introduction.SECRET_BYTES) + wire.asked(1, ["key"], []),
        lambda address: address.secret + LONG,
        lambda address: address.secret + struct.pack(">II", 4, 1),
        lambda address: address.secret + struct.pack(">II", 5, 1) + b"\xc1",
        lambda address: address.secret + b"".join(wire.asked(n, ["k"], []) for n in range(answering.MAX_CALLS + 1)),
    ],
    ids=["wrong secret", "too long", "empty", "no msgpack", "too many at once"],
)
async def test_a_stranger_is_hung_up_on(replica: Replica, told: Bytes) -> None:
    replica.gate.clear()
    reader, writer, address = await stranger(replica.server)
    writer.write(told(address))
    async with asyncio.timeout(5):
        with pytest.raises(ConnectionResetError):
            while await reader.read(1000):
                pass
            raise ConnectionResetError  # the end, where the reset was not seen
    writer.close()
    await replica.server.aclose()


async def test_who_says_nothing_is_hung_up_on(replica: Replica, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(introduction, "INTRODUCTION_TIMEOUT_S", 0.05)
    reader, writer, _ = await stranger(replica.server)
    async with asyncio.timeout(5):
        with pytest.raises(ConnectionResetError):
            if not await reader.read(1):
                raise ConnectionResetError
    writer.close()
    await replica.server.aclose()


async def test_who_does_not_read_is_not_read_either(replica: Replica) -> None:
    replica.value_bytes = 4 * 1024 * 1024
    _, writer, address = await stranger(replica.server)
    writer.write(address.secret)
    for number in range(answering.MAX_CALLS):
        writer.write(wire.asked(number, ["key"], []))
        await asyncio.sleep(0.005)
    await asyncio.sleep(0.1)
    held = sum(c._transport.get_write_buffer_size() for c in replica.server._connections if c._transport)
    assert len(replica.calls) < answering.MAX_CALLS // 2
    assert held < 2 * answering.MAX_UNSENT_BYTES + replica.value_bytes
    writer.transport.abort()
    await replica.server.aclose()


KEYS = st.lists(st.text(max_size=20), max_size=5)
CLAIMS = st.lists(st.none() | st.builds(Claim, st.text(), st.binary(), st.binary()), max_size=5)
FOUND = st.builds(
    Found, st.lists(st.none() | st.binary(max_size=50), max_size=5), st.text(), st.lists(st.binary()), st.text()
)


@given(st.lists(st.tuples(KEYS, CLAIMS), max_size=4), st.lists(FOUND, max_size=4), st.data())
def test_what_crosses_arrives_however_it_is_cut(
    lookups: list[tuple[list[str], list[Claim | None]]], answers: list[Found], data: st.DataObject
) -> None:
    def arrived(pieces: list[bytes]) -> list[tuple[int, bytes]]:
        whole, buffer, messages = b"".join(pieces), bytearray(), []
        while whole:
            size = data.draw(st.integers(1, len(whole)))
            buffer += whole[:size]
            whole = whole[size:]
            messages += wire.taken(buffer, 2**20)
        assert not buffer
        return messages

    came = arrived([wire.asked(n, keys, claims) for n, (keys, claims) in enumerate(lookups)])
    read = [wire.read_asked(payload) for _, payload in came]
    assert [(list(r.keys), list(r.claims)) for r in read] == lookups
    assert [n for n, _ in came] == list(range(len(lookups)))
    assert [wire.read_found(p) for _, p in arrived([wire.found(1, answer) for answer in answers])] == answers
