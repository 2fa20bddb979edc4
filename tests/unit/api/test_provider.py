"""A provider's model like any other: the provider is a second instance of this service, over real HTTP."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from openai import AsyncOpenAI
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from deployments.config import ProviderModel, ScriptedModel
from tests.unit.api.conftest import Service, running

PATH = "/v1/chat/completions"
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = {"type": "function", "function": {"name": "get_weather", "parameters": CITY}}
CLOCK = {"type": "function", "function": {"name": "get_clock", "parameters": CITY}}


@dataclass
class Far:
    """The provider: what it was asked, and what it is told to answer in place of its service's answer."""

    app: ASGIApp | None = None
    status: int = 0
    headers: dict[str, str] | None = None
    text: str = ""
    requests: int = 0

    def around(self, app: ASGIApp) -> ASGIApp:
        async def serve(scope: Scope, receive: Receive, send: Send) -> None:
            self.requests += scope["type"] == "http" and scope["path"] == PATH
            if self.status and scope["type"] == "http":
                kind = "text/event-stream" if self.status == 200 else "application/json"
                await PlainTextResponse(self.text, self.status, self.headers, kind)(scope, receive, send)
                return
            await app(scope, receive, send)

        return serve


def provider(far: Service, model: str = "far", **more: Any) -> ProviderModel:
    settings = {"id": "near", "model": f"openai:{model}", "base_url": f"{far.url}/v1", "api_key_env": "FAR_KEY"}
    return ProviderModel(kind="provider", **(settings | more))  # type: ignore[arg-type]


@pytest.fixture
def answers() -> Far:
    return Far()


@pytest.fixture
async def far(answers: Far, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[Service]:
    """The other service: `far` is quick, `slow` takes 20 ms a token, `fragile` fails at its third token."""
    models = (
        ScriptedModel(id="far", kind="scripted", tokens=8, context_tokens=40),
        ScriptedModel(id="slow", kind="scripted", tokens=500, token_ms=20),
        ScriptedModel(id="late", kind="scripted", prefill_ms=60_000),
        ScriptedModel(id="fragile", kind="scripted", tokens=8, fail_after=2),
    )
    async with running(*models, around=answers.around) as service:
        monkeypatch.setenv("FAR_KEY", service.http.headers["authorization"].removeprefix("Bearer "))
        yield service


@pytest.fixture
async def near(far: Service) -> AsyncGenerator[Service]:
    """The service under test: `near`, `near-slow`, … are the models of the other one; `own` is its own."""
    named = [provider(far, name, id=f"near-{name}") for name in ("slow", "late", "fragile")]
    own = ScriptedModel(id="own", kind="scripted", tokens=4)
    async with running(provider(far), *named, own) as service:
        yield service


def chat(text: str = "hello there world", **more: Any) -> dict[str, Any]:
    return {"model": "near", "messages": [{"role": "user", "content": text}], **more}


async def asked(service: Service, **more: Any) -> httpx.Response:
    return await service.http.post(PATH, json=chat(**more))


async def events(service: Service, body: dict[str, Any]) -> list[dict[str, Any]]:
    response = await service.http.post(PATH, json={**body, "stream": True})
    assert response.status_code == 200
    return [json.loads(line.removeprefix("data: ")) for line in response.text.splitlines() if line[:7] == "data: {"]


def sdk(service: Service) -> AsyncOpenAI:
    key = service.http.headers["authorization"].removeprefix("Bearer ")
    return AsyncOpenAI(base_url=f"{service.url}/v1", api_key=key, max_retries=0, _strict_response_validation=True)


async def test_it_answers_whole_and_streamed_with_the_providers_usage(near: Service) -> None:
    async with sdk(near) as api:
        body: Any = chat()
        whole = await api.chat.completions.create(**body)
        parts = [
            p
            async for p in await api.chat.completions.create(
                **body, stream=True, stream_options={"include_usage": True}
            )
        ]
    assert whole.choices[0].message.content == "hello there world hello there world hello there "
    assert "".join(p.choices[0].delta.content or "" for p in parts if p.choices) == whole.choices[0].message.content
    assert len([p for p in parts if p.choices and p.choices[0].delta.content]) == 8
    assert whole.usage and parts[-1].usage and parts[-1].usage.total_tokens == whole.usage.total_tokens == 3 + 8
    assert (whole.model, whole.choices[0].finish_reason) == ("near", "stop")
    assert {p.id for p in parts} == {parts[0].id} != {whole.id}


async def test_the_first_event_comes_before_the_last_is_made(near: Service) -> None:
    async with near.http.stream("POST", PATH, json=chat(model="near-slow", stream=True)) as response:
        lines = response.aiter_lines()
        await anext(lines)
        assert await near.models.running("near-slow") == 1


@pytest.mark.parametrize(
    ("more", "seen"),
    [
        ({"max_tokens": 3}, "hello there world "),
        ({"max_completion_tokens": 2}, "hello there "),
        ({"stop": "world"}, "hello there "),
        ({"stop": ["x", "there"], "temperature": 0.5, "top_p": 0.9, "seed": 7, "presence_penalty": 1}, "hello "),
        (
            {"response_format": {"type": "text"}, "n": 1, "parallel_tool_calls": True, "user": "me", "max_tokens": 1},
            "hello ",
        ),
        ({"logit_bias": {"5": 1.0}, "frequency_penalty": 0.5, "max_tokens": 1}, "hello "),
    ],
)
async def test_parameters_reach_the_provider(near: Service, more: dict[str, Any], seen: str) -> None:
    response = await asked(near, **more)
    assert response.json()["choices"][0]["message"]["content"] == seen
    assert (
        "".join(c["delta"].get("content") or "" for e in await events(near, chat(**more)) for c in e["choices"]) == seen
    )


async def test_a_structured_answer_is_the_providers(near: Service) -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "place", "schema": CITY}}
    whole = await asked(near, text="Where is 'Bonn'?", response_format=wanted)
    assert json.loads(whole.json()["choices"][0]["message"]["content"]) == {"city": "Bonn"}
    # Cut off in the middle it is still an answer, streamed or not.
    cut = await asked(near, text="Where is 'Bonn'?", response_format=wanted, max_tokens=1)
    assert cut.json()["choices"][0]["finish_reason"] == "length"
    assert (await events(near, chat("Where is 'Bonn'?", response_format=wanted)))[-1]["choices"][0][
        "finish_reason"
    ] == "stop"
    free = await asked(near, text="Say 'answer'", response_format={"type": "json_object"})
    assert json.loads(free.json()["choices"][0]["message"]["content"])


async def test_logprobs_and_reasoning_effort_are_the_providers(near: Service) -> None:
    response = await asked(near, logprobs=True, top_logprobs=2, reasoning_effort="low")
    tokens = response.json()["choices"][0]["logprobs"]["content"]
    assert [t["token"] for t in tokens][:2] == ["hello ", "there "] and len(tokens[0]["top_logprobs"]) == 2


@pytest.mark.parametrize("stream", [False, True])
async def test_tools_are_called_and_their_outputs_read(near: Service, stream: bool) -> None:
    body = chat("weather and clock in 'Bonn'", tools=[WEATHER, CLOCK])
    if stream:
        said: list[dict[str, Any]] = [{}, {}]
        for event in await events(near, body):
            for part in event["choices"][0]["delta"].get("tool_calls", []) if event["choices"] else []:
                call = said[part["index"]]
                call["id"] = part.get("id") or call.get("id")
                call["name"] = call.get("name") or part["function"].get("name")
                call["arguments"] = call.get("arguments", "") + part["function"].get("arguments", "")
    else:
        answer = (await near.http.post(PATH, json=body)).json()["choices"][0]
        assert answer["finish_reason"] == "tool_calls"
        said = [{"id": c["id"], **c["function"]} for c in answer["message"]["tool_calls"]]
    assert [call["name"] for call in said] == ["get_weather", "get_clock"]
    assert all(json.loads(call["arguments"]) == {"city": "Bonn"} for call in said)
    call = {
        "id": said[0]["id"],
        "type": "function",
        "function": {"name": "get_weather", "arguments": '{"city":"Bonn"}'},
    }
    turns = [
        *body["messages"],
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": call["id"], "content": "rain in the morning"},
    ]
    after = await near.http.post(PATH, json={**body, "messages": turns})
    assert after.json()["choices"][0]["message"]["content"].startswith("rain in the morning")


@pytest.mark.parametrize(
    ("choice", "called"),
    [
        ("none", []),
        ("required", ["get_weather"]),
        ({"type": "function", "function": {"name": "get_clock"}}, ["get_clock"]),
        (
            {
                "type": "allowed_tools",
                "allowed_tools": {
                    "mode": "required",
                    "tools": [{"type": "function", "function": {"name": "get_clock"}}],
                },
            },
            ["get_clock"],
        ),
    ],
)
async def test_the_choice_of_tools_is_the_clients(near: Service, choice: Any, called: list[str]) -> None:
    answer = (await asked(near, tools=[WEATHER, CLOCK], tool_choice=choice)).json()["choices"][0]["message"]
    assert [call["function"]["name"] for call in answer.get("tool_calls") or []] == called


async def test_one_tool_at_a_time(near: Service) -> None:
    answer = await asked(near, text="weather and clock", tools=[WEATHER, CLOCK], parallel_tool_calls=False)
    assert len(answer.json()["choices"][0]["message"]["tool_calls"]) == 1


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"top_k": 3}, "top_k"),
        ({"n": 2}, "n"),
        ({"min_tokens": 1}, "min_tokens"),
        ({"structured_outputs": {"choice": ["a"]}}, "structured_outputs"),
        ({"unheard_of": 1}, "unheard_of"),
        ({"tools": [WEATHER], "tool_choice": {"type": "function", "function": {"name": "other"}}}, "tool_choice"),
        ({"messages": [{"role": "function", "content": "x"}]}, "messages[0].role"),
        (
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}],
                    }
                ]
            },
            "messages[0].content[0].type",
        ),
    ],
)
async def test_what_the_provider_has_not_is_refused_by_name(
    near: Service, answers: Far, more: dict[str, Any], field: str
) -> None:
    response = await near.http.post(PATH, json={**chat(), **more})
    assert (response.status_code, response.json()["error"]["param"]) == (400, field)
    assert answers.requests == 0


async def test_a_server_that_takes_more_is_given_it(far: Service) -> None:
    async with running(provider(far, body_parameters=("structured_outputs",))) as near:
        response = await asked(near, structured_outputs={"choice": ["yes", "no"]})
        assert response.json()["choices"][0]["message"]["content"] == "yes"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/embeddings", {"input": "a"}),
        ("/v1/completions", {"prompt": "a"}),
        ("/v1/tokenize", {"prompt": "a"}),
        ("/v1/detokenize", {"tokens": [1]}),
    ],
)
async def test_what_no_chat_model_does_names_the_model(near: Service, path: str, body: dict[str, Any]) -> None:
    response = await near.http.post(path, json={"model": "near", **body})
    assert response.status_code == 400 and "'near' does not support" in response.json()["error"]["message"]


async def test_it_is_cached_joined_metered_and_kept(near: Service, answers: Far) -> None:
    conversation = (await near.http.post("/v1/conversations", json={})).json()["id"]
    kept = await asked(near, conversation=conversation)
    assert kept.status_code == 200
    first = await asked(near, temperature=0)
    assert first.headers["x-cache"] == "MISS"
    async with asyncio.timeout(5):
        while (again := await asked(near, temperature=0)).headers["x-cache"] != "HIT":
            await asyncio.sleep(0.02)
    assert again.json()["choices"] == first.json()["choices"]
    many = await asyncio.gather(*(asked(near, text="another one", temperature=0) for _ in range(5)))
    assert sorted(response.headers["x-cache"] for response in many) == ["JOIN"] * 4 + ["MISS"]
    assert answers.requests == 3
    items = (await near.http.get(f"/v1/conversations/{conversation}/items")).json()["data"]
    assert [item["role"] for item in items] == ["assistant", "user"]
    async with asyncio.timeout(3):
        while near.usage.pending:
            await asyncio.sleep(0.01)
    (usage,) = (await near.http.get("/v1/usage", params={"group_by": "model"})).json()["data"]
    assert usage["model"] == "near" and usage["requests"] >= 8
    assert usage["completion_tokens"] == 3 * 8 and usage["cached_tokens"] >= 11 + 4 * 8  # joined: paid once


async def test_responses_work_on_it(near: Service) -> None:
    async with sdk(near) as api:
        response = await api.responses.create(model="near", input="hello you")
        assert response.output_text.startswith("hello you") and response.model == "near"
        assert response.usage and response.usage.output_tokens == 8


@pytest.mark.parametrize("stream", [False, True])
async def test_the_request_to_the_provider_ends_when_the_client_leaves(
    near: Service, far: Service, stream: bool
) -> None:
    for model in ("slow", "late"):
        request = asyncio.create_task(near.http.post(PATH, json=chat(model=f"near-{model}", stream=stream)))
        async with asyncio.timeout(5):
            while not await far.models.running(model):
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        request.cancel()
        async with asyncio.timeout(2):
            while await far.models.running(model) or await near.models.running(f"near-{model}"):
                await asyncio.sleep(0.01)
        assert await near.models.waiting(f"near-{model}") == 0


async def test_joined_streams_end_the_request_with_the_last_of_them(near: Service, far: Service, answers: Far) -> None:
    body = chat(model="near-slow", stream=True, temperature=0)
    async with AsyncExitStack() as stack:
        for _ in range(2):
            response = await stack.enter_async_context(near.http.stream("POST", PATH, json=body))
            await anext(response.aiter_lines())
        assert (await far.models.running("slow"), answers.requests) == (1, 1)
    async with asyncio.timeout(2):
        while await far.models.running("slow"):
            await asyncio.sleep(0.01)


ERRORS: list[tuple[int, dict[str, str], dict[str, str], tuple[int, str], str | None]] = [
    (429, {"message": "slow down", "code": "rate"}, {"retry-after": "17"}, (429, "provider_busy"), "17"),
    (429, {"message": "x"}, {"retry-after": "Mon, 01 Jan 2029 00:00:00 GMT"}, (429, "provider_busy"), "3600"),
    (429, {"message": "x"}, {"retry-after": "never"}, (429, "provider_busy"), "5"),
    (429, {"message": "no money", "code": "insufficient_quota"}, {}, (502, "provider_refused"), None),
    (401, {"message": "Incorrect API key: sk-secret"}, {}, (502, "provider_refused"), None),
    (404, {"message": "no such model"}, {}, (502, "provider_refused"), None),
    (500, {"message": "Traceback"}, {}, (502, "provider_failed"), "5"),
    (503, {"message": "x"}, {"retry-after": "3"}, (503, "overloaded"), "3"),
    (529, {"message": "x"}, {}, (503, "overloaded"), "5"),
    (504, {"message": "x"}, {}, (504, "timeout"), "5"),
    (400, {"message": "Bad seed.", "param": "seed"}, {}, (400, "invalid_request"), None),
    (400, {"message": "Its maximum context length is 5 tokens."}, {}, (400, "context_length_exceeded"), None),
    (400, {"message": "x", "code": "context_length_exceeded"}, {}, (400, "context_length_exceeded"), None),
    (418, {"message": "teapot"}, {}, (502, "provider_failed"), "5"),
]  # fmt: skip
"""What a provider answers: status, error and headers; what a client then sees: status, code and Retry-After."""


@pytest.mark.parametrize("stream", [False, True])
async def test_a_providers_error_is_told_in_this_services_words(near: Service, answers: Far, stream: bool) -> None:
    for asked_before, (status, body, headers, seen, wait) in enumerate(ERRORS):
        answers.status, answers.text, answers.headers = status, json.dumps({"error": body}), headers
        response = await asked(near, stream=stream)
        error = response.json()["error"]
        assert (response.status_code, error["code"]) == seen
        assert response.headers.get("retry-after") == wait
        assert "secret" not in response.text and "Traceback" not in response.text
        if status == 400:
            assert error["message"] == body["message"]
        assert answers.requests == asked_before + 1  # nothing is tried again behind the client's back


async def test_a_limit_of_the_other_service_is_passed_on(
    near: Service, far: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The key of this service has no limit; that of the other has one request per minute."""
    _, secret = await far.keys.create("limited", {"requests_per_minute": 1})
    monkeypatch.setenv("LIMITED_KEY", secret)
    async with running(provider(far, api_key_env="LIMITED_KEY")) as limited:
        assert (await asked(limited)).status_code == 200
        refused = await asked(limited)
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "provider_busy")
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert "x-ratelimit-remaining-requests" not in refused.headers


@pytest.mark.parametrize("cut", [False, True])
async def test_a_failure_in_mid_stream_ends_the_stream_with_an_error(near: Service, answers: Far, cut: bool) -> None:
    if cut:  # the connection is closed as if all had been said
        chunk = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "far"}
        say = {
            **chunk,
            "choices": [{"index": 0, "delta": {"role": "assistant", "content": "Hel"}, "finish_reason": None}],
        }
        answers.status, answers.text = 200, f"data: {json.dumps(say)}\n\n"
    found = await events(near, chat(model="near" if cut else "near-fragile", temperature=0))
    assert found[-1]["error"]["code"] == "provider_failed"
    assert found[1]["choices"][0]["delta"]["content"] == ("Hel" if cut else "hello ")
    whole = await asked(near, model="near" if cut else "near-fragile", temperature=0)
    assert (whole.status_code, whole.headers.get("x-cache")) == (502, None)


async def test_a_provider_out_of_reach_is_told_at_once(far: Service) -> None:
    async with running(provider(far, base_url="http://127.0.0.1:9/v1")) as near:
        response = await asked(near)
    assert (response.status_code, response.json()["error"]["code"]) == (502, "provider_failed")


async def test_a_silent_provider_is_given_up(far: Service) -> None:
    async with running(provider(far, "late", timeout_s=0.5)) as near:
        response = await asked(near)
        assert (response.status_code, response.json()["error"]["code"]) == (504, "timeout")
        async with asyncio.timeout(2):
            while await far.models.running("late"):
                await asyncio.sleep(0.01)


async def test_an_answer_without_usage_is_estimated(near: Service, answers: Far) -> None:
    chunk = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "far"}
    say = {
        **chunk,
        "choices": [{"index": 0, "delta": {"role": "assistant", "content": "x" * 400}, "finish_reason": "stop"}],
    }
    answers.status, answers.text = 200, f"data: {json.dumps(say)}\n\ndata: [DONE]\n\n"
    usage = (await asked(near, text="y" * 400)).json()["usage"]
    assert 100 <= usage["completion_tokens"] < 120 and 100 <= usage["prompt_tokens"] < 200


async def test_a_stored_conversation_is_cut_until_it_fits_the_provider(near: Service) -> None:
    conversation = (await near.http.post("/v1/conversations", json={})).json()["id"]
    for turn in range(6):
        response = await asked(near, text=f"turn {turn} of this conversation", conversation=conversation)
        assert response.status_code == 200, response.text
    too_long = await asked(near, text="word " * 50)
    assert too_long.json()["error"]["code"] == "context_length_exceeded"


async def test_models_tells_what_it_is(near: Service) -> None:
    shown = (await near.http.get("/v1/models/near")).json()
    assert (shown["status"], shown["input_modalities"], shown["output_modalities"]) == ("ready", ["text"], ["text"])
