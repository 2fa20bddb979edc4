"""What is sent to do harm gets an error quickly, and the next caller does not notice."""

import asyncio
import contextlib
import gzip
import time
from collections.abc import AsyncGenerator

import httpx
import pytest

from deployments.api.http.bodies import decoded
from deployments.config import Limits, ScriptedModel, Timeouts
from deployments.errors import InvalidJSON
from tests.unit.api.conftest import Service, running
from tests.unit.api.test_errors import assert_error

PATH = "/v1/chat/completions"
HELLO = b'{"messages":[{"role":"user","content":"hello"}]}'


@pytest.fixture
async def strict() -> AsyncGenerator[Service]:
    """A service that waits half a second for a body, of 300 kB at most."""
    model = ScriptedModel(id="quick", kind="scripted", tokens=8)
    async with running(model, limits=Limits(max_body_bytes=300_000), timeouts=Timeouts(body_s=0.5)) as service:
        yield service


def request(service: Service, *headers: str, path: str = PATH) -> bytes:
    """The head of a request, as bytes on the wire."""
    host, key = service.http.base_url.netloc.decode(), service.http.headers["authorization"]
    lines = [f"POST {path} HTTP/1.1", f"host: {host}", f"authorization: {key}", *headers, "", ""]
    return "\r\n".join(lines).encode()


async def spoken(service: Service, *parts: bytes, pause_s: float = 0.0, more: bytes = b"") -> tuple[bytes, float]:
    """Send `parts`, then `more` again and again; return what came until the connection ended, and after what time."""
    url = service.http.base_url
    began = time.perf_counter()
    reader, writer = await asyncio.open_connection(url.host, url.port)
    answer = bytearray()

    async def read() -> None:
        with contextlib.suppress(ConnectionError):  # who goes on sending into an ended connection is cut off
            while part := await reader.read(4096):
                answer.extend(part)

    async with asyncio.timeout(20):
        reading = asyncio.create_task(read())
        with contextlib.suppress(ConnectionError):
            for part in parts:
                writer.write(part)
                await writer.drain()
            while more and not reading.done():
                writer.write(more)
                await asyncio.gather(writer.drain(), asyncio.sleep(pause_s))
        await reading
    writer.close()
    return bytes(answer), time.perf_counter() - began


async def test_a_body_that_never_ends_is_refused_and_its_connection_ends(strict: Service) -> None:
    head = request(strict, "transfer-encoding: chunked")
    chunk = b"2710\r\n" + b" " * 10_000 + b"\r\n"
    answer, took_s = await spoken(strict, head, more=chunk)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"body_too_large" in answer
    assert took_s < 5


async def test_a_declared_length_past_the_limit_is_refused_before_a_byte_of_it(strict: Service) -> None:
    answer, took_s = await spoken(strict, request(strict, "content-length: 99999999999"))
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert took_s < 5


@pytest.mark.parametrize("framing", ["content-length: 100", "content-length: 200000", "transfer-encoding: chunked"])
async def test_a_slow_sender_is_cut_off(strict: Service, framing: str) -> None:
    drop = b"1\r\n \r\n" if "chunked" in framing else b" "
    url = strict.http.base_url
    reader, writer = await asyncio.open_connection(url.host, url.port)
    writer.write(request(strict, framing))
    began = time.perf_counter()
    while time.perf_counter() - began < 0.4:
        writer.write(drop)
        await asyncio.sleep(0.1)
    answer = await asyncio.wait_for(reader.readuntil(b"}}"), 5)
    writer.close()
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"request_timeout" in answer
    assert time.perf_counter() - began < 2


async def test_a_stranger_with_a_body_is_refused_without_reading_it(strict: Service) -> None:
    head = request(strict, "transfer-encoding: chunked").replace(b"Bearer ", b"Bearer x")
    answer, took_s = await spoken(strict, head, more=b"1\r\n \r\n", pause_s=0.1)
    assert answer.startswith(b"HTTP/1.1 401 ")
    assert took_s < 5


async def test_a_header_bomb_is_431(service: Service) -> None:
    many = {f"x-{number}": "y" * 100 for number in range(1000)}
    assert_error(await service.http.get("/v1/models", headers=many), 431, "headers_too_large")
    assert_error(await service.http.get("/v1/models", headers={"x-one": "y" * 1_000_000}), 431, "headers_too_large")
    long_path = await service.http.get("/v1/models/" + "x" * 60_000)
    assert 400 <= long_path.status_code < 500


NUMBERS = [b"NaN", b"Infinity", b"-Infinity", b"1e999", b"-1e999", b"9" * 400, b"9" * 100_000, b"0x10", b"01", b"1."]
TEXTS = [rb'"\ud800"', rb'"\udc00\ud800"', b'"\xff"', b'"\xed\xa0\x80"', b'"\x00"', b'"\n"', b'"']
DEEP = [b"[" * 100_000, b'{"a":' * 100_000, b"[" * 1000 + b"]" * 1000, b'{"a":' * 250 + b"1" + b"}" * 250]


async def test_json_that_is_none_is_refused(service: Service) -> None:
    for value in NUMBERS + TEXTS + DEEP:
        for field in (b"seed", b"user", b"extra"):
            content = HELLO[:-1] + b',"' + field + b'":' + value + b"}"
            began = time.perf_counter()
            assert_error(await service.http.post(PATH, content=content), 400, "invalid_json")
            assert time.perf_counter() - began < 5, value[:20]


async def test_an_integer_past_64_bits_is_none(service: Service) -> None:
    for seed in (b"9" * 20, b"1e30", b"-" + b"9" * 20):
        content = HELLO[:-1] + b',"seed":' + seed + b"}"
        assert_error(await service.http.post(PATH, content=content), 400, "invalid_request", "seed")


async def test_a_million_messages_are_refused(service: Service) -> None:
    message = b'{"role":"user"}'
    content = b'{"messages":[' + b",".join([message] * 2_001) + b"]}"
    assert_error(await service.http.post(PATH, content=content), 400, "invalid_request", "messages")
    content = b'{"messages":[' + b",".join([b"{}"] * 1_000_000) + b"]}"
    assert_error(await service.http.post(PATH, content=content), 400, "invalid_json")


async def test_of_equal_keys_the_last_counts_everywhere(service: Service) -> None:
    response = await service.http.post(PATH, content=b'{"model":"none",' + HELLO[1:-1] + b',"model":"quick"}')
    assert response.json()["model"] == "quick"


async def test_null_characters_are_kept_out_of_the_store(service: Service) -> None:
    items = [{"type": "message", "role": "user", "content": "a\0b"}]
    made = await service.http.post("/v1/conversations", json={"items": items, "title": "a\0b"})
    assert made.status_code == 200
    for path in ("/v1/conversations/%00", "/v1/models/%00", f"/v1/conversations/{made.json()['id']}/items/%00"):
        assert (await service.http.get(path)).status_code == 404


async def test_a_compressed_body_is_415(service: Service) -> None:
    for encoding in ("gzip", "deflate", "br", "zstd"):
        response = await service.http.post(PATH, content=gzip.compress(HELLO), headers={"content-encoding": encoding})
        assert_error(response, 415, "unsupported_encoding")


LARGEST = {
    "text": b'{"messages":[{"role":"user","content":"' + b"x" * 8_300_000 + b'"}]}',
    "commas": b'{"messages":[{"role":"user","content":"' + b"," * 8_300_000 + b'"}]}',
    "quotes": b'{"messages":[{"role":"user","content":"' + rb"\"," * 2_700_000 + b'"}]}',
    "lists": b'{"messages":[],"a":[' + b"[]," * 2_700_000 + b"1]}",
    "keys": b'{"messages":[],' + b",".join(b'"%d":0' % n for n in range(190_000)) + b"}",
}


@pytest.mark.parametrize("body", LARGEST.values(), ids=LARGEST)
def test_decoding_is_bounded_whatever_the_body(body: bytes) -> None:
    """8 MiB of empty lists take 1.3 s without a bound on values; the bound here leaves room for a busy machine."""
    took_s: list[float] = []
    for _ in range(3):
        began = time.process_time()
        with contextlib.suppress(InvalidJSON):
            decoded(body, Limits().max_json_values)
        took_s.append(time.process_time() - began)
    assert min(took_s) < 0.3


def test_values_in_strings_are_not_counted() -> None:
    body = rb'["a,b,[{\\\",,,,", "\\", ",,,,"]'
    assert decoded(body, 4) == ['a,b,[{\\",,,,', "\\", ",,,,"]
    with pytest.raises(InvalidJSON, match="more than 2 values"):
        decoded(body, 2)


async def test_the_next_caller_does_not_notice(service: Service) -> None:
    """While hostile requests keep coming, an ordinary one is answered about as fast as it takes to refuse one."""
    stop = asyncio.Event()

    async def attack(content: bytes) -> None:
        async with httpx.AsyncClient(base_url=service.url, headers=service.http.headers, timeout=20) as http:
            while not stop.is_set():
                assert 400 <= (await http.post(PATH, content=content)).status_code < 500

    bombs = (b"[" * 100_000, b'{"messages":[' + b"{}," * 300_000 + b"{}]}", b"9" * 1_000_000, b"\xff" * 1_000_000)
    attackers = [asyncio.create_task(attack(bomb)) for bomb in bombs]
    took_s: list[float] = []
    for _ in range(20):
        began = time.perf_counter()
        assert (await service.http.post(PATH, content=HELLO)).status_code == 200
        took_s.append(time.perf_counter() - began)
    stop.set()
    await asyncio.gather(*attackers)
    assert sorted(took_s)[10] < 0.5
