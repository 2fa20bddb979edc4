"""HAProxy in front of the application, by Ray's own configuration, mended: its errors, headers, inner ports."""

import asyncio
import contextlib
import re
import socket
from collections.abc import AsyncGenerator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from deployments.api.http.cycle import install_cycle
from deployments.config import ScriptedModel, Timeouts
from tests.haproxied import haproxied
from tests.launched import free_ports
from tests.unit.api.conftest import running

QUICK = ScriptedModel(id="quick", kind="scripted")


def port_of(url: str) -> int:
    port = urlsplit(url).port
    assert port
    return port


def assert_is_ours(answer: httpx.Response, status: int, code: str) -> None:
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/json")
    error = answer.json()["error"]
    assert error["code"] == code and set(error) == {"message", "type", "param", "code", "request_id"}
    assert error["request_id"] == answer.headers["x-request-id"]
    assert "<" not in answer.text


async def test_a_dead_replica_is_a_503_in_the_api_s_own_shape(tmp_path: Path) -> None:
    with haproxied(tmp_path, *free_ports(1)) as url:
        async with httpx.AsyncClient(base_url=url) as http:
            answer = await http.get("/v1/models")
            assert_is_ours(answer, 503, "unavailable")
            assert re.fullmatch("req_[0-9a-f-]{36}", answer.headers["x-request-id"])
            assert int(answer.headers["retry-after"]) >= 1
            for given in ("mine", 'a"b\\c%d'):
                answer = await http.get("/v1/models", headers={"x-request-id": given})
                assert_is_ours(answer, 503, "unavailable")
                assert answer.headers["x-request-id"] == given
            answer = await http.get("/v1/models", headers={"x-request-id": '"' * 12_000})
            assert_is_ours(answer, 503, "unavailable")
            assert answer.headers["x-request-id"].startswith("req_")


async def test_before_anything_is_deployed_the_service_is_starting(tmp_path: Path) -> None:
    with haproxied(tmp_path, is_deployed=False) as url:
        async with httpx.AsyncClient(base_url=url) as http:
            answer = await http.post("/v1/chat/completions", json={})
            assert_is_ours(answer, 503, "unavailable")
            assert int(answer.headers["retry-after"]) >= 1


@pytest.mark.parametrize(
    ("path", "headers"),
    [("/v1/messages", {}), ("/v1/messages/count_tokens", {}), ("/v1/models", {"anthropic-version": "2023-06-01"})],
)
@pytest.mark.parametrize("is_deployed", [True, False])
async def test_anthropic_s_clients_get_errors_in_its_own_shape(
    tmp_path: Path, path: str, headers: dict[str, str], is_deployed: bool
) -> None:
    with haproxied(tmp_path, *free_ports(1), is_deployed=is_deployed) as url:
        async with httpx.AsyncClient(base_url=url, headers=headers) as http:
            answer = await http.post(path, json={})
            assert_is_anthropics(answer, 503, "api_error")
            assert_is_ours(await http.get("/v1/messagesx", headers={"anthropic-version": ""}), 503, "unavailable")


async def test_a_replica_that_is_lost_tells_anthropic_s_clients_in_their_shape(tmp_path: Path) -> None:
    async with replica(b"") as port:
        with haproxied(tmp_path, port) as url:
            async with httpx.AsyncClient(base_url=url) as http:
                assert_is_anthropics(await http.post("/v1/messages", json={}), 502, "api_error")


def assert_is_anthropics(answer: httpx.Response, status: int, kind: str) -> None:
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/json")
    body = answer.json()
    assert body == {
        "type": "error",
        "error": {"type": kind, "message": body["error"]["message"]},
        "request_id": answer.headers["x-request-id"],
    }
    assert body["error"]["message"].endswith("please try again.")
    assert int(answer.headers["retry-after"]) >= 1


@contextlib.asynccontextmanager
async def replica(answer: bytes) -> AsyncGenerator[int]:
    """Run what answers so to all but /health and /fine, once on each connection; yields its port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", head)
            await reader.readexactly(int(length[1]) if length else 0)
            is_fine = re.match(rb"\w+ /(health|fine) ", head)
            writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n" if is_fine else answer)
            await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


async def test_a_replica_that_is_lost_while_it_answers_is_a_502(tmp_path: Path) -> None:
    """No other replica could take it over. On a connection that was used before, HAProxy would say nothing at all."""
    async with replica(b"") as port:
        with haproxied(tmp_path, port) as url:
            async with httpx.AsyncClient(base_url=url) as http:
                answer = await http.post("/v1/chat/completions", json={})
    assert_is_ours(answer, 502, "unavailable")
    assert answer.headers["retry-after"] == "1"


async def test_what_a_lost_replica_had_not_begun_to_answer_another_one_answers(tmp_path: Path) -> None:
    """Also on a connection that served others before; but not what may have been done already."""
    fine = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}"
    async with replica(b"") as losing, replica(fine) as good:
        with haproxied(tmp_path, losing, good) as url:
            async with httpx.AsyncClient(base_url=url) as http:
                assert (await http.get("/fine")).status_code == 200
                for _ in range(6):
                    assert (await http.post("/v1/chat/completions", json={})).status_code == 200
            for path, body, headers in (
                ("responses", b"{}", {}),
                ("chat/completions", b'{"conversation": "conv_1"}', {}),
                ("chat/completions", b'{"c\\u006fnversation": "conv_1"}', {}),
                ("chat/completions", b"{}", {"x-chatllm-retry": "0"}),
            ):
                statuses: list[int] = []
                for _ in range(4):
                    async with httpx.AsyncClient(base_url=url) as http:
                        statuses.append((await http.post(f"/v1/{path}", content=body, headers=headers)).status_code)
                assert 502 in statuses, (path, body, headers)


@pytest.mark.parametrize("body_s", [2.0, 30.0])
async def test_a_slow_body_has_the_time_that_the_service_file_gives_it(tmp_path: Path, body_s: float) -> None:
    """HAProxy waits for a second, so as to be able to send it to another replica, and then lets it go on."""
    body = b'{"model": "quick", "messages": [{"role": "user", "content": "hello"}]}'
    async with running(QUICK, timeouts=Timeouts(body_s=body_s)) as service:
        with haproxied(tmp_path, port_of(service.url)) as url:
            key = service.http.headers["authorization"].encode()
            reader, writer = await asyncio.open_connection("127.0.0.1", port_of(url))
            head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: %s\r\ncontent-length: %d\r\n\r\n"
            writer.write(head % (key, len(body)) + body[:5])
            if body_s > 10:
                await asyncio.sleep(3)
                writer.write(body[5:])
            async with asyncio.timeout(20):
                answer = await reader.readuntil(b"\r\n")
            writer.close()
    assert answer.split()[1] == (b"200" if body_s > 10 else b"408")


@pytest.mark.parametrize("body", [b"1\r\n{\r\n", b"2\r\n{}\r\n0\r\n\r\n"])
async def test_a_body_in_chunks_is_sent_to_one_replica_alone(tmp_path: Path, body: bytes) -> None:
    """The chunk that tells of its conversation may come last."""
    fine = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}"
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
    async with replica(b"") as losing, replica(fine) as good:
        with haproxied(tmp_path, losing, good) as url:
            async with httpx.AsyncClient(base_url=url) as http:
                assert (await http.get("/fine")).status_code == 200
            statuses: list[bytes] = []
            for _ in range(4):
                reader, writer = await asyncio.open_connection("127.0.0.1", port_of(url))
                writer.write(head + body)
                async with asyncio.timeout(10):
                    statuses.append((await reader.readuntil(b"\r\n"))[9:12])
                writer.close()
            assert b"502" in statuses


async def test_what_tells_of_other_letters_by_escapes_is_sent_again(tmp_path: Path) -> None:
    fine = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}"
    async with replica(b"") as losing, replica(fine) as good:
        with haproxied(tmp_path, losing, good) as url:
            async with httpx.AsyncClient(base_url=url) as http:
                assert (await http.get("/fine")).status_code == 200
                for _ in range(4):
                    asked = b'{"messages": [{"content": "gr\\u00fc\\u00df \\u4e16\\u754c, \\u2026"}]}'
                    assert (await http.post("/v1/chat/completions", content=asked)).status_code == 200


@pytest.mark.parametrize(("said", "status"), [(500, 502), (503, 503), (404, 503)])
async def test_what_serves_proxy_says_is_in_the_api_s_own_shape(tmp_path: Path, said: int, status: int) -> None:
    """It has the requests while HAProxy knows no healthy replica."""
    head = b"HTTP/1.1 %d x\r\nconnection: close\r\ncontent-type: text/plain; charset=utf-8\r\n" % said
    plain = head + b"content-length: 4\r\n\r\nlost"
    async with replica(plain) as port:
        with haproxied(tmp_path, *free_ports(1), serves_proxy=port) as url:
            async with httpx.AsyncClient(base_url=url) as http:
                while (await http.get("/fine")).status_code != 200:
                    await asyncio.sleep(0.1)
                answer = await http.post("/v1/chat/completions", json={})
        assert_is_ours(answer, status, "unavailable")
        assert int(answer.headers["retry-after"]) >= 1
        with haproxied(tmp_path / "replica", port) as url:
            async with httpx.AsyncClient(base_url=url) as http:
                assert (await http.post("/v1/chat/completions", json={})).text == "lost"  # a replica's own answer


@pytest.mark.parametrize(("count", "length"), [(200, 10), (900, 10), (10, 4000)])
async def test_requests_with_many_headers_and_long_ones_are_answered(tmp_path: Path, count: int, length: int) -> None:
    async with running(QUICK) as service:
        with haproxied(tmp_path, port_of(service.url)) as url:
            headers = {f"x-{at}": "y" * length for at in range(count)} | dict(service.http.headers)
            async with httpx.AsyncClient(base_url=url, headers=headers) as http:
                assert (await http.get("/v1/models")).status_code == 200


async def test_headers_past_the_limit_are_a_431_that_names_it(tmp_path: Path) -> None:
    async with running(QUICK) as service:
        with haproxied(tmp_path, port_of(service.url)) as url:
            async with httpx.AsyncClient(base_url=url, headers=dict(service.http.headers)) as http:
                answer = await http.get("/v1/models", headers={"x-large": "y" * 60_000})
    assert (answer.status_code, answer.json()["error"]["code"]) == (431, "headers_too_large")


def test_statistics_and_metrics_are_for_this_machine_alone(tmp_path: Path) -> None:
    with haproxied(tmp_path, *free_ports(1)):
        config = (tmp_path / "cfg").read_text()
        inner = re.findall(r"^ *bind (\S+)$", config, re.MULTILINE)
        assert len(inner) == 3 and all(address.startswith("127.0.0.1:") for address in inner)
        for address in inner:
            socket.create_connection(tuple(address.split(":")), timeout=5).close()
        assert "option splice" not in config and "option abortonclose" in config


def test_in_a_cluster_each_request_has_a_connection_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An old one to a node that was cut off would hold a request until the node is back."""
    for value, is_closed in (("", False), ("never", True)):
        monkeypatch.setenv("CHATLLM_HAPROXY_REUSE", value)
        with haproxied(tmp_path / (value or "here"), *free_ports(1)):
            config = (tmp_path / (value or "here") / "cfg").read_text()
        assert bool(re.search(r"^defaults\n *option http-server-close$", config, re.MULTILINE)) == is_closed


async def test_a_stream_to_an_http_1_0_client_is_plain_bytes(tmp_path: Path) -> None:
    install_cycle(())
    payload = b'{"messages": [{"role": "user", "content": "hello"}], "stream": true}'
    async with running(QUICK) as service:
        with haproxied(tmp_path, port_of(service.url)) as url:
            key = service.http.headers["authorization"].encode()
            reader, writer = await asyncio.open_connection("127.0.0.1", port_of(url))
            head = b"POST /v1/chat/completions HTTP/1.0\r\nauthorization: %s\r\ncontent-length: %d\r\n\r\n"
            writer.write(head % (key, len(payload)) + payload)
            async with asyncio.timeout(10):
                headers, _, body = (await reader.read()).partition(b"\r\n\r\n")
            writer.close()
    assert b" 200 OK" in headers and b"chunked" not in headers.lower()
    assert body.startswith(b"data: {") and body.endswith(b"data: [DONE]\n\n")


async def test_haproxy_answers_head_and_a_slash_as_the_application_does(tmp_path: Path) -> None:
    async with running(QUICK) as service:
        with haproxied(tmp_path, port_of(service.url)) as url:
            async with httpx.AsyncClient(base_url=url, headers=dict(service.http.headers)) as http:
                got, head = await http.get("/v1/models/"), await http.head("/v1/models")
                assert (got.status_code, head.status_code, head.content) == (200, 200, b"")
                assert head.headers["content-length"] == str(len(got.content))
