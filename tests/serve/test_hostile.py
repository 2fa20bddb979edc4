"""Hostile requests through Ray Serve and its HAProxy, whose own answers are not in OpenAI's shape."""

import asyncio
import contextlib
import time
from collections.abc import Generator
from urllib.parse import urlsplit

import pytest

from tests.launched import Launched, launched, service_file

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

PATH = "/v1/chat/completions"


@pytest.fixture(scope="module")
def service() -> Generator[Launched]:
    """A service that waits two seconds for a body."""
    with launched(service_file([{"id": "quick", "kind": "scripted"}], {}, timeouts={"body_s": 2})) as running:
        yield running


async def spoken(service: Launched, head: bytes, more: bytes = b"", pause_s: float = 0.0) -> bytes:
    """Send `head`, then `more` again and again; return the answer, whole, or as far as it came in 25 seconds."""
    url = urlsplit(service.url)
    reader, writer = await asyncio.open_connection(url.hostname, url.port)
    answer = bytearray()

    async def read() -> None:
        with contextlib.suppress(ConnectionError):
            while not answer.rstrip().endswith((b"}}", b"</html>")) and (part := await reader.read(4096)):
                answer.extend(part)

    reading = asyncio.create_task(read())
    try:
        with contextlib.suppress(ConnectionError, TimeoutError):
            async with asyncio.timeout(25):
                writer.write(head)
                while more and not reading.done():
                    writer.write(more)
                    await asyncio.gather(asyncio.wait((reading,), timeout=pause_s), writer.drain())
                await reading
    finally:
        reading.cancel()
        writer.close()
    return bytes(answer)


def post(service: Launched, *headers: str) -> bytes:
    lines = [f"POST {PATH} HTTP/1.1", "host: x", f"authorization: Bearer {service.key}", *headers, "", ""]
    return "\r\n".join(lines).encode()


async def test_a_request_id_is_returned_once_and_is_the_one_in_the_error(service: Launched) -> None:
    async with service.client() as http:
        for given in (None, "mine-1/a+b=", "with blank", "x" * 200):
            headers = {} if given is None else {"x-request-id": given}
            response = await http.post(PATH, content=b"{", headers=headers)
            assert response.status_code == 400
            returned = response.headers.get_list("x-request-id")
            assert returned == [response.json()["error"]["request_id"]]
            assert given is None or returned == [given]
            answered = await http.post(PATH, json={"messages": [{"role": "user", "content": "x"}]}, headers=headers)
            assert len(answered.headers.get_list("x-request-id")) == 1
            async with http.stream("GET", "/v1/nothing", headers=headers) as streamed:
                assert len(streamed.headers.get_list("x-request-id")) == 1


async def test_bodies_without_end_and_slow_ones_are_cut_off(service: Launched) -> None:
    began = time.perf_counter()
    endless, declared, slow = await asyncio.gather(
        spoken(service, post(service, "transfer-encoding: chunked"), b"2710\r\n" + b" " * 10_000 + b"\r\n"),
        spoken(service, post(service, "content-length: 99999999999")),
        spoken(service, post(service, "content-length: 100000"), b" ", 0.5),
    )
    assert endless.startswith(b"HTTP/1.1 413 ")
    assert declared.startswith(b"HTTP/1.1 413 ")
    assert slow.startswith(b"HTTP/1.1 408 ")
    for answer in (endless, declared, slow):
        assert b'"request_id"' in answer
    assert time.perf_counter() - began < 30


async def test_headers_that_are_huge_or_never_end_are_haproxys_to_answer(service: Launched) -> None:
    bomb, slow = await asyncio.gather(
        spoken(service, post(service, "x-bomb: " + "y" * 1_000_000)),
        spoken(service, b"GET /v1/models HTTP/1.1\r\nhost: x\r\n", b"x: y\r\n", 0.5),
    )
    assert bomb.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 431 "))
    assert slow.startswith(b"HTTP/1.1 408 ")


async def test_the_next_caller_is_served(service: Launched) -> None:
    async with service.client() as http:
        for hostile in (b"[" * 100_000, b'{"a":1e999}', b'"\\ud800"', b"\xff" * 1000, b"[" + b"{}," * 300_000 + b"0]"):
            assert (await http.post(PATH, content=hostile)).status_code == 400
        began = time.perf_counter()
        assert (await http.get("/v1/models")).status_code == 200
        assert (await http.get("/docs")).status_code == 200
        assert time.perf_counter() - began < 2
