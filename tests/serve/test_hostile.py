"""Hostile requests through Ray Serve and its HAProxy, and clients that leave."""

import asyncio
import contextlib
import itertools
import json
import os
import signal
import socket
import struct
import time
from collections.abc import Generator
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from tests.launched import Launched, launched, service_file
from tests.serve.test_faults import replicas

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

PATH = "/v1/chat/completions"
MODELS = [
    {"id": "quick", "kind": "scripted"},
    {"id": "slow", "kind": "scripted", "tokens": 2000, "token_ms": 20},
    {"id": "silent", "kind": "scripted", "prefill_ms": 40_000},
]


@pytest.fixture(scope="module")
def service() -> Generator[Launched]:
    """A service that waits two seconds for a body."""
    with launched(service_file(MODELS, {}, timeouts={"body_s": 2})) as running:
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


CHAT: dict[str, Any] = {"messages": [{"role": "user", "content": "hello world"}]}
REQUESTS: dict[str, tuple[str, dict[str, Any]]] = {
    "chat": ("/v1/chat/completions", CHAT),
    "cacheable": ("/v1/chat/completions", CHAT | {"temperature": 0}),
    "large": (
        "/v1/chat/completions",
        {"messages": [{"role": "system", "content": "x" * 3_000_000}, *CHAT["messages"]]},
    ),
    "completion": ("/v1/completions", {"prompt": "hello world"}),
    "response": ("/v1/responses", {"input": "hello world"}),
}
RESET = struct.pack("ii", 1, 0)
SEGMENTS, IS_RESET = (1, 2, 5), (False, True)


def connected(service: Launched, path: str, body: dict[str, Any], segments: int) -> socket.socket:
    """Send a request, its headers in the first segment, its body in the last ones."""
    url, payload = urlsplit(service.url), json.dumps(body).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {service.key}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(payload)}\r\n\r\n"
    ).encode()
    size = -(-len(payload) // max(1, segments - 1))
    pieces = [payload[at : at + size] for at in range(0, len(payload), size)]
    connection = socket.create_connection((url.hostname, url.port), timeout=30)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for piece in [head + payload] if segments == 1 else [head, *pieces]:
        connection.sendall(piece)
        time.sleep(0.03)
    return connection


def leave(connection: socket.socket, is_reset: bool) -> None:
    if is_reset:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    connection.close()


async def until_running(http: httpx.AsyncClient, model: str, count: int) -> None:
    async with asyncio.timeout(20):
        while (await http.get(f"/v1/models/{model}")).json()["running"] != count:
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("model", ["slow", "silent"])
@pytest.mark.parametrize("streams", [False, True], ids=["plain", "streamed"])
@pytest.mark.parametrize("endpoint", REQUESTS)
async def test_a_client_that_leaves_stops_the_engine(
    service: Launched, endpoint: str, streams: bool, model: str
) -> None:
    """`slow` is at its tokens when the client leaves, `silent` before the first one; both would go on for 40 s."""
    path, request = REQUESTS[endpoint]
    body = {**request, "model": model, "stream": streams}
    async with service.client() as http:
        ways = list(itertools.product(SEGMENTS, IS_RESET))
        connections = await asyncio.gather(
            *(  # each asks something else, so that none joins the generation of another
                asyncio.to_thread(connected, service, path, {**body, "top_p": 1 - number / 100}, segments)
                for number, (segments, _) in enumerate(ways)
            )
        )
        await until_running(http, model, len(ways))
        await asyncio.sleep(0.2)
        left_at = time.monotonic()
        for connection, (_, is_reset) in zip(connections, ways, strict=True):
            leave(connection, is_reset)
        await until_running(http, model, 0)
        assert time.monotonic() - left_at < 3  # half a second, on a machine that does nothing else


async def test_what_old_and_lenient_clients_send_passes_haproxy_and_serve(service: Launched) -> None:
    body = b'{"model": "quick", "messages": [{"role": "user", "content": "hello"}], "stream": true}'
    head = post(service, f"content-length: {len(body)}").replace(b"HTTP/1.1", b"HTTP/1.0")
    headers, _, streamed = (await spoken(service, head + body)).partition(b"\r\n\r\n")
    assert b" 200 OK" in headers and b"chunked" not in headers.lower()
    assert streamed.startswith(b"data: {") and streamed.endswith(b"data: [DONE]\n\n")
    async with service.client() as http:
        many = {f"x-{number}": "y" for number in range(200)}
        got, asked = await http.get("/v1/models/", headers=many), await http.head("/v1/models")
        assert (got.status_code, asked.status_code, asked.content) == (200, 200, b"")
        assert asked.headers["content-length"] == str(len(got.content))
        azure = {"authorization": "", "api-key": service.key}
        assert (await http.post(f"{PATH}/", json={**CHAT, "model": "quick"}, headers=azure)).status_code == 200


async def test_a_request_whose_ingress_replica_is_lost_is_answered_or_refused_in_the_api_s_own_shape(
    service: Launched,
) -> None:
    """The last one of this file: until another replica runs, this service has none."""
    async with service.client() as http, service.client() as fresh, asyncio.timeout(120):
        answering = asyncio.create_task(fresh.post(PATH, json={**CHAT, "model": "silent"}))
        await until_running(http, "silent", 1)
        (replica,) = replicas(service, "Ingress")
        os.kill(replica, signal.SIGKILL)
        # As there is no other replica, HAProxy hands it to Serve's own proxy, which may wait for the next one. Where
        # the connection had served other requests, it can close the client's in silence: the client tries again.
        with suppress(httpx.RemoteProtocolError, TimeoutError):
            async with asyncio.timeout(10):
                lost = await answering
            assert lost.status_code in (502, 503) and lost.json()["error"]["code"] == "unavailable"
            assert lost.headers["content-type"] == "application/json" and int(lost.headers["retry-after"]) >= 1
            assert lost.json()["error"]["request_id"] == lost.headers["x-request-id"]
        while (answer := await http.get("/v1/models")).status_code != 200:
            assert answer.status_code in (502, 503) and answer.json()["error"]["code"] == "unavailable"
            await asyncio.sleep(0.1)
