"""What is answered from the cache is the original, and only to the very same request of the very same model."""

import asyncio
import json
import time
from typing import Any

import httpx
import pytest

from deployments.api.schemas.chat_request import ChatRequest
from deployments.cache.store import MemoryStore
from deployments.chat.parameters import HINTS
from deployments.config import CacheSettings, ScriptedModel
from deployments.responses.request import ResponseRequest
from tests.unit.api.conftest import Service, running

CHAT = "/v1/chat/completions"
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}, "country": {"type": "string"}}}
FUNCTION = {"name": "weather", "parameters": SCHEMA}
TOOLS = [{"type": "function", "function": FUNCTION}]
USAGE = {"stream_options": {"include_usage": True}}


def body(text: str = "call weather please", **more: Any) -> dict[str, Any]:
    return {"model": "quick", "messages": [{"role": "user", "content": text}], "temperature": 0, **more}


async def asked(service: Service, path: str = CHAT, **request: Any) -> httpx.Response:
    response = await service.http.post(path, json=request)
    assert response.status_code == 200, response.text
    return response


def whole(response: httpx.Response) -> dict[str, Any]:
    """Return the answer as its choices and usage, put together as a client would where it was streamed."""
    if response.headers["content-type"].startswith("application/json"):
        found = response.json()
        choices = [{**c["message"], "reason": c["finish_reason"], "logprobs": c["logprobs"]} for c in found["choices"]]
        for call in (call for choice in choices for call in choice.get("tool_calls") or []):
            call["index"] = choices[0]["tool_calls"].index(call)
        return {"choices": [said(choice) for choice in choices], "usage": found["usage"]}
    events = [json.loads(line.removeprefix("data: ")) for line in response.text.split("\n\n") if "{" in line]
    merged: dict[int, dict[str, Any]] = {}
    for part in (part for event in events for part in event["choices"]):
        choice = merged.setdefault(part["index"], {"logprobs": None})
        for name, value in part["delta"].items():
            if name == "tool_calls":
                for call in value:
                    known = choice.setdefault("tool_calls", [])
                    if call["index"] == len(known):
                        known.append({**call, "function": {"name": "", "arguments": ""}})
                    for field, piece in call["function"].items():
                        known[call["index"]]["function"][field] += piece
            else:
                choice[name] = value if name == "role" else (choice.get(name) or "") + (value or "")
        if part.get("logprobs"):
            tokens = (choice["logprobs"] or {"content": []})["content"] + part["logprobs"]["content"]
            choice["logprobs"] = {"content": tokens}
        choice["reason"] = part["finish_reason"] or choice.get("reason")
    usage = next((event["usage"] for event in events if event.get("usage")), None)
    return {"choices": [said(merged[at]) for at in sorted(merged)], "usage": usage}


def said(choice: dict[str, Any]) -> dict[str, Any]:
    """Return what a choice says: nothing said in words is the same as no words."""
    return {name: value for name, value in choice.items() if value not in (None, "")}


@pytest.mark.parametrize("first_streams", [True, False], ids=["streamed first", "plain first"])
@pytest.mark.parametrize(
    ("more", "holds"),
    [
        ({}, "content"),
        ({"tools": TOOLS}, "tool_calls"),
        ({"tools": TOOLS, "tool_choice": "required", "reasoning_effort": "low"}, "reasoning"),
        ({"max_tokens": 3, "n": 2}, "content"),
        ({"logprobs": True, "top_logprobs": 2}, "logprobs"),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}}, "content"),
    ],
    ids=str,
)
async def test_one_entry_serves_streamed_and_plain_with_all_that_was_said(
    service: Service, more: dict[str, Any], holds: str, first_streams: bool
) -> None:
    plain, streamed = body(**more), body(**more, stream=True, **USAGE)
    original = await asked(service, **(streamed if first_streams else plain))
    assert original.headers["x-cache"] == "MISS"
    for request in (plain, streamed):
        hit = await asked(service, **request)
        assert hit.headers["x-cache"] == "HIT"
        assert whole(hit) == whole(original)
    assert whole(original)["choices"][0][holds]
    assert whole(original)["usage"]["completion_tokens"] > 0


SAMPLING_VALUES: dict[str, Any] = {
    "temperature": 0.5,
    "top_p": 0.9,
    "seed": 8,
    "stop": "x",
    "frequency_penalty": 0.1,
    "presence_penalty": 0.1,
    "logit_bias": {"5": 1},
    "top_k": 5,
    "min_p": 0.1,
    "repetition_penalty": 1.1,
    "length_penalty": 1.1,
    "min_tokens": 2,
    "ignore_eos": True,
    "stop_token_ids": [3],
    "include_stop_str_in_output": True,
    "allowed_token_ids": [3],
    "bad_words": ["x"],
    "structured_outputs": {"choice": ["x"]},
    "repetition_detection": {"max_pattern_size": 3},
    "use_beam_search": True,
    "watermarking": True,
    "skip_special_tokens": False,
    "spaces_between_special_tokens": False,
    "truncate_prompt_tokens": 5,
    "truncation_side": "left",
    "prompt_logprobs": 1,
    "logprob_token_ids": [3],
    "thinking_token_budget": 5,
    "include_reasoning": False,
    "echo": True,
    "add_generation_prompt": False,
    "continue_final_message": True,
    "add_special_tokens": True,
    "documents": [{"title": "x"}],
    "chat_template": "x",
    "chat_template_kwargs": {"x": 1},
    "media_io_kwargs": {"image": {"x": 1}},
    "mm_processor_kwargs": {"x": 1},
    "return_tokens_as_token_ids": True,
    "return_token_ids": True,
    "return_prompt_text": True,
    "stream_interval": 2,
    "cache_salt": "x",
    "vllm_xargs": {"x": 1},
}
SAME_SAMPLING: dict[str, Any] = {"priority": 1, "session_id": "x"}
NOT_CACHED = {"kv_transfer_params", "ec_transfer_params"}
"""They move state between engines."""

VALUES: dict[str, Any] = SAMPLING_VALUES | {
    "messages": [{"role": "user", "content": "something else"}],
    "model": "other",
    "max_tokens": 5,
    "max_completion_tokens": 6,
    "n": 2,
    "logprobs": True,
    "top_logprobs": (2, {"logprobs": True}),
    "tools": TOOLS,
    "tool_choice": ("required", {"tools": TOOLS}),
    "functions": [FUNCTION],
    "function_call": ({"name": "weather"}, {"functions": [FUNCTION]}),
    "parallel_tool_calls": False,
    "response_format": {"type": "json_object"},
    "reasoning_effort": "low",
}
"""A value of each field that changes the answer, and what else the request then needs."""

SAME_ANSWER: dict[str, Any] = SAME_SAMPLING | {
    "stream": True,
    "stream_options": ({"include_usage": True}, {"stream": True}),
    "store": True,
    "metadata": {"a": "b"},
}
"""A value of each field that leaves the answer as it is."""

ABOUT_CONVERSATIONS = {"conversation", "parent"}
"""They say what the messages are, see below."""


async def key_of(service: Service, **more: Any) -> str:
    return (await asked(service, **body("hello", seed=7) | more)).headers["x-cache-key"]


async def test_each_field_of_a_chat_is_in_the_key_unless_it_cannot_change_the_answer(service: Service) -> None:
    """A field that is new in the API fails here until it has been thought about."""
    considered = VALUES.keys() | SAME_ANSWER.keys() | ABOUT_CONVERSATIONS | NOT_CACHED
    assert considered == set(ChatRequest.__struct_fields__)
    other = ScriptedModel(id="other", kind="scripted", tokens=8)
    async with running(ScriptedModel(id="quick", kind="scripted", tokens=8), other) as service:
        base = await key_of(service)
        found = {base}
        for name, given in VALUES.items():
            value, needs = given if isinstance(given, tuple) else (given, {})
            key, without = await key_of(service, **{name: value}, **needs), await key_of(service, **needs)
            assert key not in (found, without), name
            found.add(key)
        assert len(found) == len(VALUES) + 1
        hints = {name: "any" for name in HINTS if "." not in name}
        for name, given in (SAME_ANSWER | hints).items():
            value, needs = given if isinstance(given, tuple) else (given, {})
            assert await key_of(service, **{name: value}, **needs) == base, name


SAME_RESPONSE: dict[str, Any] = SAME_SAMPLING | {
    "background": True,
    "metadata": {"a": "b"},
    "parallel_tool_calls": None,  # only with tools
    "parent": None,  # these three say what was said before
    "previous_response_id": None,
    "conversation": None,
    "context_management": [{"type": "compaction", "compact_threshold": 1_000}],
    "max_tool_calls": 3,
    "prompt_cache_key": "x",
    "safety_identifier": "x",
    "store": False,
    "stream": True,
    "stream_options": {},
    "tool_choice": "auto",
    "user": "x",
    "include": ["message.input_image.image_url"],
}
RESPONSE_VALUES: dict[str, Any] = SAMPLING_VALUES | {
    "input": "something else",
    "model": "slow",
    "instructions": "Be brief.",
    "tools": [{"type": "function", "name": "weather", "parameters": SCHEMA}],
    "text": {"format": {"type": "json_object"}},
    "reasoning": {"effort": "low"},
    "truncation": "auto",
    "max_output_tokens": 3,
    "top_logprobs": 2,
}


async def test_each_field_of_a_response_that_changes_the_answer_is_in_the_key(service: Service) -> None:
    considered = SAME_RESPONSE.keys() | RESPONSE_VALUES.keys() | NOT_CACHED
    assert considered == set(ResponseRequest.__struct_fields__)

    async def key_of(**more: Any) -> str:
        request = {"model": "quick", "input": "hello", "seed": 7, "max_output_tokens": 4, **more}
        return (await asked(service, "/v1/responses", **request)).headers["x-cache-key"]

    base = await key_of()
    keys = [base, *[await key_of(**{name: value}) for name, value in RESPONSE_VALUES.items()]]
    assert len(set(keys)) == len(RESPONSE_VALUES) + 1
    hints: dict[str, Any] = {name: "any" for name in HINTS if "." not in name}
    hints |= {"text": {"verbosity": "low"}, "reasoning": {"summary": "detailed", "context": "all_turns"}}
    for name, value in (SAME_RESPONSE | hints).items():
        if value is not None and name != "background":  # whose own answer is no answer of a model
            assert await key_of(**{name: value}) == base, name


async def test_what_was_said_before_is_part_of_the_request(service: Service) -> None:
    async def conversation(*turns: str) -> str:
        made = (await asked(service, "/v1/conversations")).json()["id"]
        for text in turns:
            last = await asked(service, **body(text, conversation=made))
        return last.headers["x-cache"]

    assert await conversation("hello", "and more") == "MISS"
    assert await conversation("hello", "and more") == "HIT"
    assert await conversation("goodbye", "and more") == "MISS"


async def test_what_was_trimmed_is_no_answer_to_who_would_have_nothing_trimmed() -> None:
    async with running(ScriptedModel(id="quick", kind="scripted", tokens=4, context_tokens=10)) as service:
        words = [{"role": "user", "content": "one two three four five six"}] * 2
        request = {"model": "quick", "input": words, "temperature": 0}
        trimmed = await asked(service, "/v1/responses", **request, truncation="auto")
        assert trimmed.headers["x-cache"] == "MISS"
        refused = await service.http.post("/v1/responses", json=request)
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, "context_length_exceeded")
        again = await asked(service, "/v1/responses", **request, truncation="auto")
        assert again.headers["x-cache"] == "HIT"


async def test_the_same_name_with_another_model_behind_it_finds_nothing() -> None:
    """A deployment after the other, on one store."""
    store = MemoryStore()

    async def result(tokens: int) -> tuple[str, int]:
        model, patient = ScriptedModel(id="quick", kind="scripted", tokens=tokens), CacheSettings(lookup_timeout_s=2)
        async with running(model, store=store, cache=patient) as service:
            _, secret = await service.keys.create("ann", {"tenant": "ann"})
            service.http.headers["authorization"] = f"Bearer {secret}"
            answer = await asked(service, **body("hello"))
            await service.cache.aclose()
            return answer.headers["x-cache"], answer.json()["usage"]["completion_tokens"]

    assert await result(8) == ("MISS", 8)
    assert await result(8) == ("HIT", 8)
    assert await result(9) == ("MISS", 9)
    assert await result(8) == ("HIT", 8)


async def test_who_comes_late_has_at_once_what_there_is_and_then_the_live_tail(service: Service) -> None:
    request = body("hello", model="slow", max_tokens=60, stream=True)

    async def read(arrivals: list[tuple[float, int]]) -> str:
        text = b""
        async with service.http.stream("POST", CHAT, json=request) as response:
            async for piece in response.aiter_raw():
                text += piece
                arrivals.append((time.perf_counter(), text.count(b'"hello ')))
        return response.headers["x-cache"]

    first, late = [], []
    leading = asyncio.create_task(read(first))
    while not first or first[-1][1] < 20:
        await asyncio.sleep(0.01)
    joined_at = time.perf_counter()
    assert await read(late) == "JOIN"
    assert await leading == "MISS"
    assert late[0][1] >= 20  # in one piece, what took the first one 400 ms
    assert late[-1][1] == first[-1][1] == 60
    live = [at for at, _ in late[1:]]
    assert len(live) > 5 and live[-1] - joined_at > 0.3  # the rest as it came
