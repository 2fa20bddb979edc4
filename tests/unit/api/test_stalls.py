"""Nothing that a client sends occupies the ingress's event loop, on which the streams of all others run."""

import asyncio
import gc
import time
from types import SimpleNamespace
from typing import Any

import httpx
import orjson
import pytest

from deployments.api.server import Ingress
from deployments.config import ScriptedModel, Settings
from deployments.infra.heap import decoded_json, freeze_heap
from tests.stalls import watched_loop
from tests.unit.api.conftest import running

pytestmark = pytest.mark.alone  # what else runs on a machine changes even the processor time of a callback

CHAT = "/v1/chat/completions"
HELLO = [{"role": "user", "content": "hello"}]
ASK: dict[str, Any] = {"messages": HELLO, "temperature": 0}
MAX_S = 0.1
"""It is less than half of that on an idle machine; one whose caches others use takes more CPU time for the same."""
QUICK = ScriptedModel(id="quick", kind="scripted", tokens=2, context_tokens=2**31 - 1, embedding_dimensions=2)


def deep(levels: int, times: int) -> list[Any]:
    value: dict[str, Any] = {}
    for _ in range(levels):
        value = {"a": value}
    return [value] * times


def parts(count: int, text: str, kind: str = "text") -> list[dict[str, Any]]:
    return [{"role": "user", "content": [{"type": kind, "text": text}] * count}]


LARGE: list[tuple[str, dict[str, Any]]] = [
    (CHAT, ASK | {"messages": [{"role": "user", "content": "ü" * 4_100_000}, *HELLO]}),
    (CHAT, ASK | {"messages": [*parts(65_000, "x" * 80), *HELLO]}),
    (CHAT, ASK | {"messages": [*[{"role": "user", "content": "x" * 4_000}] * 1_999, *HELLO]}),
    (CHAT, ASK | {"vllm_xargs": {"a": deep(190, 940)}}),
    (CHAT, ASK | {f"unknown_{n}": {} for n in range(98_000)}),
    (CHAT, ASK | {"documents": [{"a": "b"}] * 98_000}),
    ("/v1/completions", {"prompt": [[7] * 1_450] * 128, "temperature": 0, "max_tokens": 2}),
    ("/v1/embeddings", {"input": ["x" * 4_000] * 2_048}),
    ("/v1/tokenize", {"messages": parts(65_000, "x" * 80)}),
    ("/v1/detokenize", {"tokens": [7] * 190_000}),
    ("/v1/responses", {"input": [*parts(65_000, "x" * 80, "input_text"), *HELLO], "store": False}),
    ("/v1/responses", {"input": [*parts(65_000, "x" * 80, "input_text"), *HELLO]}),
    ("/v1/responses", {"input": "hello", "instructions": "x" * 8_000_000}),
    ("/v1/conversations", {"items": parts(65_000, "x" * 80, "input_text")}),
]


@pytest.mark.parametrize(("path", "fields"), LARGE, ids=lambda value: str(value)[:60])
async def test_a_large_request_lets_other_streams_go_on(path: str, fields: dict[str, Any]) -> None:
    body = orjson.dumps(fields)
    async with running(QUICK) as service:
        freeze_heap()

        def post() -> httpx.Response:
            return httpx.post(service.url + path, content=body, headers=service.http.headers, timeout=60)

        with watched_loop() as occupied:
            answer = await asyncio.to_thread(post)
    assert answer.status_code == 200, answer.text[:200]
    assert occupied.longest_s < MAX_S, occupied.callback


def calling(*arguments: str) -> list[dict[str, Any]]:
    """Return the items of calls, and their outputs."""
    calls = [
        {"type": "function_call", "call_id": f"c{n}", "name": "f", "arguments": a} for n, a in enumerate(arguments)
    ]
    outputs = [{"type": "function_call_output", "call_id": call["call_id"], "output": "done"} for call in calls]
    return [*calls, *outputs]


STORED: dict[str, list[dict[str, Any]]] = {
    "parts": [*parts(60_000, "x", "input_text"), *HELLO],
    "arguments": [*calling(*['{"a":[' + "[]," * 16_000 + "0]}"] * 120), *HELLO],
}


def batched(items: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    size = 20 if len(items) > 20 else 2
    return [items[at : at + size] for at in range(0, len(items), size)]


@pytest.mark.parametrize("case", STORED)
async def test_a_large_conversation_is_continued_beside_other_streams(case: str) -> None:
    async with running(QUICK) as service:
        conversation = (await service.http.post("/v1/conversations", json={})).json()["id"]
        for items in batched(STORED[case] * (3 if case == "parts" else 1)):
            path = f"/v1/conversations/{conversation}/items"
            answer = await service.http.post(path, json={"items": items}, timeout=60)
            assert answer.status_code == 200, answer.text[:200]
        freeze_heap()
        paths = [(CHAT, {"messages": HELLO}), ("/v1/responses", {"input": "hello"})]
        for path, fields in [*paths, ("/v1/responses/input_tokens", {"input": "hello"})]:
            asked = {**fields, "conversation": conversation, "model": "quick"}
            with watched_loop() as occupied:
                answer = await asyncio.to_thread(
                    httpx.post, service.url + path, json=asked, headers=service.http.headers, timeout=60
                )
            assert answer.status_code == 200, answer.text[:200]
            assert occupied.longest_s < MAX_S, (path, occupied.callback)


@pytest.mark.parametrize("path", ["/v1/responses", "/v1/conversations"])
async def test_arguments_of_more_values_than_a_window_holds_are_refused(path: str) -> None:
    items = [*HELLO, *calling('{"a":[' + "[]," * 2_500_000 + "0]}")]
    body = orjson.dumps({"input": items} if path == "/v1/responses" else {"items": items})
    async with running(QUICK) as service:
        freeze_heap()
        with watched_loop() as occupied:
            answer = await asyncio.to_thread(
                httpx.post, service.url + path, content=body, headers=service.http.headers, timeout=60
            )
    assert answer.status_code == 400 and answer.json()["error"]["param"].endswith("[1].arguments")
    assert occupied.longest_s < MAX_S, occupied.callback


async def test_the_heap_of_a_ready_ingress_is_not_collected_again() -> None:
    pauses, began = list[float](), 0.0

    def note(phase: str, _info: dict[str, int]) -> None:
        nonlocal began
        if phase == "start":
            began = time.thread_time()
        else:
            pauses.append(time.thread_time() - began)

    gc.unfreeze()
    handle: Any = SimpleNamespace(options=lambda **_: None)  # nothing is asked of it
    Ingress(Settings(models=(QUICK,)), {"quick": "-"}, {"quick": handle}, None).__serve_build_asgi_app__()
    gc.callbacks.append(note)
    try:
        gc.collect()
    finally:
        gc.callbacks.remove(note)
    assert max(pauses) < 0.05


def test_nothing_is_collected_while_json_is_decoded() -> None:
    collected: list[str] = []

    def note(phase: str, _info: dict[str, int]) -> None:
        collected.append(phase)

    gc.callbacks.append(note)
    try:
        decoded_json(b"[" + b"[]," * 100_000 + b"0]")
    finally:
        gc.callbacks.remove(note)
    assert gc.isenabled() and not collected
