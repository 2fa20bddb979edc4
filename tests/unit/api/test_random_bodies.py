"""Whatever is in a body, the answer is this API's own: never a 500, never late (hypothesis)."""

import asyncio
import json
import re
import threading
from collections.abc import Generator
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deployments.api.schemas.openapi import described
from deployments.api.server import build_http
from deployments.config import Current, ScriptedModel, Settings
from tests.budgets import examples
from tests.unit.api.conftest import running

DOCUMENT = described(build_http(lambda: pytest.fail("nothing is opened"), Current(Settings())))
JSON = "application/json"
BODIES: list[tuple[str, dict[str, Any]]] = [
    (path, methods["post"]["requestBody"]["content"][JSON]["example"])
    for path, methods in DOCUMENT["paths"].items()
    if JSON in methods.get("post", {}).get("requestBody", {}).get("content", {})
]
FOREIGN = re.compile(r"`(str|int|bool|float)\b|pydantic|validation error|Traceback|NoneType|object at 0x|\w+Error\b")
"""What no error says: the bodies of these tests hold none of it."""
PLENTY = settings(max_examples=examples(250), deadline=None, suppress_health_check=list(HealthCheck))

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["", "\0", "user", "auto", "conv_0", 10**400, -(2**63), 2**64, 1.0, "\ud800", [], {}])
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
)


@st.composite
def mutated(draw: st.DrawFn) -> tuple[str, Any]:
    """A body that is valid but for one to three places, and where to send it."""
    path, example = draw(st.sampled_from(BODIES))
    body = json.loads(json.dumps(example))
    properties = _properties(path)
    for _ in range(draw(st.integers(1, 3))):
        node: Any = body
        while True:
            names = [*node, *(properties if node is body else ())] if isinstance(node, dict) else range(len(node))
            if not names:
                break
            at = draw(st.sampled_from(list(names)))
            present = not isinstance(node, dict) or at in node
            if present and isinstance(node[at], dict | list) and draw(st.booleans()):
                node = node[at]
                continue
            if present and isinstance(node, dict) and draw(st.integers(0, 4)) == 0:
                del node[at]
            else:
                node[at] = draw(values)
            break
    return path, body


def _properties(path: str) -> list[str]:
    schema = DOCUMENT["paths"][path]["post"]["requestBody"]["content"][JSON]["schema"]
    name = schema.get("$ref", "").rpartition("/")[2]
    return list(DOCUMENT["components"]["schemas"].get(name, schema).get("properties", {}))


@pytest.fixture(scope="module")
def client() -> Generator[httpx.Client]:
    """A client of a service in another thread, since hypothesis calls plain functions."""
    started: list[tuple[str, dict[str, str]]] = []
    ready = threading.Event()
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    async def serve() -> None:
        async with running(ScriptedModel(id="quick", kind="scripted", tokens=4, context_tokens=100)) as service:
            started.append((service.url, dict(service.http.headers)))
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    assert ready.wait(20)
    with httpx.Client(base_url=started[0][0], headers=started[0][1], timeout=10) as http:
        yield http
    loop.call_soon_threadsafe(stop.set)
    thread.join()
    loop.close()


def send(client: httpx.Client, path: str, content: bytes) -> None:
    response = client.post(path.format_map(Names()), content=content)
    assert response.status_code < 500, (path, content, response.text)
    if response.headers["content-type"].startswith("application/json"):
        assert "error" in response.json() or response.status_code == 200
        assert response.status_code == 200 or not FOREIGN.search(response.json()["error"]["message"]), response.text
        wanted = {"type", "message"} if path.startswith("/v1/messages") else {"message", "code", "request_id"}
        assert response.status_code == 200 or set(response.json()["error"]) >= wanted


class Names(dict[str, str]):
    """An id for each parameter of a path."""

    def __missing__(self, name: str) -> str:
        return f"{name}_1"


@PLENTY
@given(mutated())
def test_valid_bodies_with_something_wrong(client: httpx.Client, case: tuple[str, Any]) -> None:
    path, body = case
    send(client, path, json.dumps(body).encode())


@PLENTY
@given(st.sampled_from([path for path, _ in BODIES]), values | st.dictionaries(st.text(max_size=8), values))
def test_any_json(client: httpx.Client, path: str, body: Any) -> None:
    send(client, path, json.dumps(body).encode())


@PLENTY
@given(st.sampled_from(BODIES), st.data())
def test_bytes_that_were_json(client: httpx.Client, case: tuple[str, Any], data: st.DataObject) -> None:
    path, body = case
    content = bytearray(json.dumps(body).encode())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=4))
        if not content:
            break
    send(client, path, bytes(content))


words = st.text(max_size=8)
sources = st.one_of(
    st.builds(lambda kind, data: {"type": "base64", "media_type": kind, "data": data}, st.just("image/png"), words),
    st.builds(lambda url: {"type": "url", "url": url}, words),
    st.builds(lambda data: {"type": "text", "media_type": "text/plain", "data": data}, words),
    values,
)
plain_blocks = st.one_of(
    st.builds(lambda text: {"type": "text", "text": text}, words),
    st.builds(lambda kind, source: {"type": kind, "source": source}, st.sampled_from(["image", "document"]), sources),
    st.builds(
        lambda kind: {"type": kind, "thinking": "a", "data": "b"}, st.sampled_from(["thinking", "container_upload"])
    ),
)
blocks = st.one_of(
    plain_blocks,
    st.builds(lambda name, given: {"type": "tool_use", "id": "t", "name": name, "input": given}, words, values),
    st.builds(
        lambda content, is_error: {"type": "tool_result", "tool_use_id": "t", "content": content, "is_error": is_error},
        words | st.lists(plain_blocks, max_size=3) | values,
        values,
    ),
    st.just({"type": "redacted_thinking", "data": "x"}),
)
messages = st.lists(
    st.builds(
        lambda role, content: {"role": role, "content": content},
        st.sampled_from(["user", "assistant", "system"]),
        words | st.lists(blocks, max_size=4),
    ),
    min_size=1,
    max_size=5,
)


@settings(PLENTY, max_examples=examples(120))
@given(messages, st.booleans())
def test_any_sequence_of_anthropics_blocks(client: httpx.Client, said: list[Any], stream: bool) -> None:
    body = {"max_tokens": 5, "messages": said, "stream": stream}
    send(client, "/v1/messages", json.dumps(body).encode())
    send(client, "/v1/messages/count_tokens", json.dumps(body).encode())
