"""The cache deployment's end of the connections against strangers, and the form of what crosses."""

import asyncio
import struct
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.cache import lookup_server, wire
from deployments.cache.claims import Claim
from deployments.cache.lookup_server import LookupServer
from deployments.cache.remote import LookupReply
from deployments.infra.transport import connection, framing
from deployments.infra.transport.framing import CHANNEL_BYTES, LOOKUP, Frame
from deployments.infra.transport.server import Address
from tests.unit.cache.test_lookup_client import HOST, Replica


@pytest.fixture
def replica() -> Replica:
    return Replica()


async def stranger(server: LookupServer) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, Address]:
    address = await server.address(HOST)
    reader, writer = await asyncio.open_connection(address.host, address.port)
    return reader, writer, address


Bytes = Callable[[Address], bytes]
LONG = struct.pack(">I", wire.MAX_LOOKUP_BYTES + 1) + bytes(CHANNEL_BYTES + 1)


def lookup(number: int, keys: list[str]) -> bytes:
    return framing.encode(wire.channel(number), *wire.encode_lookup(keys, []))


@pytest.mark.parametrize(
    "told",
    [
        lambda _: bytes(connection.SECRET_BYTES) + lookup(1, ["key"]),
        lambda address: address.secret + LONG,
        lambda address: address.secret + framing.encode(wire.channel(1), LOOKUP, b""),
        lambda address: address.secret + framing.encode(wire.channel(1), LOOKUP, b"\xc1"),
        lambda address: address.secret + framing.encode(wire.channel(1), framing.REPLY, wire.encode_lookup([], [])[1]),
        lambda address: address.secret + b"".join(lookup(n, ["k"]) for n in range(lookup_server.MAX_CALLS + 1)),
    ],
    ids=["wrong secret", "too long", "empty", "no msgpack", "another kind", "too many at once"],
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
    monkeypatch.setattr(connection, "HANDSHAKE_TIMEOUT_S", 0.05)
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
    for number in range(lookup_server.MAX_CALLS):
        writer.write(lookup(number, ["key"]))
        await asyncio.sleep(0.005)
    await asyncio.sleep(0.1)
    held = sum(c._transport.get_write_buffer_size() for c in replica.server._server._connections if c._transport)
    assert len(replica.calls) < lookup_server.MAX_CALLS // 2
    assert held < 2 * connection.MAX_UNSENT_BYTES + replica.value_bytes
    writer.transport.abort()
    await replica.server.aclose()


KEYS = st.lists(st.text(max_size=20), max_size=5)
CLAIMS = st.lists(st.none() | st.builds(Claim, st.text(), st.binary(), st.binary()), max_size=5)
LOOKUP_REPLY = st.builds(
    LookupReply, st.lists(st.none() | st.binary(max_size=50), max_size=5), st.text(), st.lists(st.binary()), st.text()
)


@given(KEYS, CLAIMS, LOOKUP_REPLY, st.integers(0, 2**64))
def test_what_crosses_arrives_as_it_was(
    keys: list[str], claims: list[Claim | None], found: LookupReply, number: int
) -> None:
    read = wire.decode_lookup(Frame(wire.channel(number), *wire.encode_lookup(keys, claims)))
    assert (read.keys, read.claims) == (keys, claims)
    answer = Frame(wire.channel(number), *wire.encode_reply(found))
    assert (wire.number_of(answer), wire.decode_reply(answer)) == (number, found)
