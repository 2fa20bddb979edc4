"""HEAD, a trailing slash, HTTP/1.0, and keys in the headers of other APIs."""

import asyncio
from urllib.parse import urlsplit

import httpx
import pytest
from fastapi.routing import APIRoute
from ray.serve._private.http_util import parse_disconnect_disabled_header
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from deployments.api.http.cycle import install_cycle
from deployments.api.server import build_http
from deployments.config import Current, ScriptedModel, Settings
from tests.asgi_server import served
from tests.unit.api.conftest import Service, running

PATH = "/v1/chat/completions"
ASKED = {"messages": [{"role": "user", "content": "hello"}]}
ROUTES = [
    route
    for route in build_http(lambda: pytest.fail("not opened"), Current(Settings())).routes
    if isinstance(route, APIRoute)
]
GETS = sorted({route.path for route in ROUTES if "GET" in (route.methods or ())})
POSTS = sorted({route.path for route in ROUTES if "POST" in (route.methods or ())})
CHANGING = {"/ready", "/v1/admin/metrics"}
"""What a moment later says something else."""
OF_THIS_ONE = {"date", "server-timing", "x-request-id"}


def filled(path: str) -> str:
    return "/".join(
        "quick" if part.startswith("{model") else "none" if "{" in part else part for part in path.split("/")
    )


@pytest.mark.parametrize("path", GETS)
async def test_head_is_get_without_the_body(service: Service, path: str) -> None:
    got, head = await service.http.get(filled(path)), await service.http.head(filled(path))
    assert head.status_code == got.status_code and not head.content
    if path not in CHANGING:
        assert head.headers["content-length"] == got.headers["content-length"]
    assert set(head.headers) - OF_THIS_ONE == set(got.headers) - OF_THIS_ONE


async def test_head_of_a_stream_ends_at_once() -> None:
    slow = ScriptedModel(id="slow", kind="scripted", tokens=2000, token_ms=20)
    async with running(slow) as service:
        begun = await service.http.post("/v1/responses", json={"input": "hello", "background": True})
        async with asyncio.timeout(5):
            head = await service.http.head(f"/v1/responses/{begun.json()['id']}?stream=true")
        assert (head.status_code, head.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
        assert (await service.http.get("/v1/models")).status_code == 200  # by the same connection


async def test_head_where_only_post_is_is_refused(service: Service) -> None:
    refused = await service.http.head("/v1/embeddings")
    assert (refused.status_code, refused.headers["allow"]) == (405, "POST")
    assert (await service.http.put("/v1/models")).headers["allow"] == "GET, HEAD"


@pytest.mark.parametrize("path", GETS)
async def test_one_trailing_slash_is_forgiven(service: Service, path: str) -> None:
    got, slashed = await service.http.get(filled(path)), await service.http.get(f"{filled(path)}/")
    assert slashed.status_code == got.status_code
    if got.status_code == 200 and path not in CHANGING:
        assert slashed.content == got.content
    twice = await service.http.get(f"{filled(path)}//")
    assert twice.status_code == 404 or "model" in path or "adapters" in path  # whose ids may hold slashes


@pytest.mark.parametrize("path", POSTS)
async def test_a_post_with_a_slash_keeps_its_body(service: Service, path: str) -> None:
    body = {**ASKED, "model": "nobody", "prompt": "hello", "input": "hello"}
    posted = [await service.http.post(filled(path) + slash, json=body) for slash in ("", "/")]
    errors = [answer.json().get("error", {}).get("message") for answer in posted]
    assert posted[0].status_code == posted[1].status_code and errors[0] == errors[1]


async def test_models_are_listed_with_a_slash_and_a_chat_is_answered(service: Service) -> None:
    assert [model["id"] for model in (await service.http.get("/v1/models/")).json()["data"]] == ["quick", "slow"]
    answer = await service.http.post(f"{PATH}/", json=ASKED)
    assert answer.status_code == 200 and answer.json()["choices"]


async def test_serve_need_not_watch_the_connections_that_are_watched_here() -> None:
    seen: dict[tuple[str, str], bool] = {}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            seen[scope["method"], scope["path"]] = parse_disconnect_disabled_header(dict(scope["headers"]))
            await Response()(scope, receive, send)

    install_cycle({PATH})
    try:
        async with served(app) as url, httpx.AsyncClient(base_url=url) as http:
            for method, path in (("POST", PATH), ("GET", PATH), ("POST", "/v1/conversations")):
                await http.request(method, path)
    finally:
        install_cycle(())
    assert seen == {("POST", PATH): True, ("GET", PATH): False, ("POST", "/v1/conversations"): False}


@pytest.mark.parametrize("streams", ["true", "false"])
async def test_an_http_1_0_client_gets_plain_bytes_until_the_connection_ends(streams: str) -> None:
    install_cycle(())
    async with running(ScriptedModel(id="quick", kind="scripted", tokens=5)) as service:
        payload = b'{"messages": [{"role": "user", "content": "hello"}], "stream": %s}' % streams.encode()
        key = service.http.headers["authorization"].encode()
        url = urlsplit(service.url)
        reader, writer = await asyncio.open_connection(url.hostname, url.port)
        head = b"POST %s HTTP/1.0\r\nauthorization: %s\r\ncontent-length: %d\r\n\r\n"
        writer.write(head % (PATH.encode(), key, len(payload)) + payload)
        async with asyncio.timeout(10):
            headers, _, body = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
        assert b" 200 OK" in headers and b"chunked" not in headers.lower()
        if streams == "true":
            assert body.startswith(b"data: {") and body.endswith(b"data: [DONE]\n\n")
        else:
            assert b"content-length: %d" % len(body) in headers and body.endswith(b"}")
        modern = await service.http.post(PATH, json={**ASKED, "stream": True})
        assert modern.headers["transfer-encoding"] == "chunked" and modern.text.endswith("data: [DONE]\n\n")


@pytest.mark.parametrize(
    ("headers", "is_let_in"),
    [
        ({"authorization": "Bearer KEY"}, True),
        ({"authorization": "bearer  KEY"}, True),
        ({"api-key": "KEY"}, True),
        ({"x-api-key": "KEY"}, True),
        ({"X-API-Key": "KEY"}, True),
        ({"authorization": "Basic dXNlcjpwYXNz", "api-key": "KEY"}, True),
        ({"authorization": "", "api-key": "", "x-api-key": "KEY"}, True),
        # The first one counts, whatever the others are.
        ({"authorization": "Bearer KEY", "api-key": "wrong", "x-api-key": "wrong"}, True),
        ({"authorization": "Bearer wrong", "api-key": "KEY", "x-api-key": "KEY"}, False),
        ({"api-key": "KEY", "x-api-key": "wrong"}, True),
        ({"api-key": "wrong", "x-api-key": "KEY"}, False),
        ({"api-key": "Bearer KEY"}, False),
        ({"authorization": "KEY"}, False),
        ({"authorization": "Basic KEY"}, False),
        ({}, False),
    ],
)
async def test_keys_of_azure_s_and_anthropic_s_clients(
    service: Service, headers: dict[str, str], is_let_in: bool, caplog: pytest.LogCaptureFixture
) -> None:
    key = service.http.headers["authorization"].removeprefix("Bearer ")
    async with httpx.AsyncClient(base_url=service.url) as http:
        sent = {name: value.replace("KEY", key) for name, value in headers.items()}
        for answer in (await http.get("/v1/models", headers=sent), await http.post(PATH, json=ASKED, headers=sent)):
            assert answer.status_code == (200 if is_let_in else 401)
    assert key not in caplog.text
