"""OpenAI's own client, which validates every answer strictly, against scripted models."""

from collections.abc import AsyncGenerator
from typing import Any

import openai
import pytest
from pydantic import BaseModel

from deployments.config import ScriptedModel
from tests.unit.api.conftest import Service, running

ASK: Any = [{"role": "user", "content": "What is the weather in San Francisco, CA?"}]
TOOL: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {"location": {"type": "string"}},
            "required": ["location"],
            "additionalProperties": False,
        },
        "strict": True,
    },
}


class Person(BaseModel):
    name: str
    age: int
    email: str | None


@pytest.fixture
async def served() -> AsyncGenerator[Service]:
    """A service with a model `guide`, called `gpt-4o` too, and one that embeds, `vectors`."""
    guide = ScriptedModel(id="guide", kind="scripted", tokens=8)
    vectors = ScriptedModel(id="vectors", kind="scripted", embedding_dimensions=16)
    async with running(guide, vectors, aliases={"gpt-4o": "guide"}) as service:
        yield service


@pytest.fixture
async def api(served: Service) -> AsyncGenerator[openai.AsyncOpenAI]:
    """The client, with the key of the service."""
    key = served.http.headers["authorization"].removeprefix("Bearer ")
    options: Any = {"max_retries": 0, "timeout": 10, "_strict_response_validation": True}
    async with openai.AsyncOpenAI(base_url=f"{served.url}/v1", api_key=key, **options) as client:
        yield client


@pytest.fixture
def lenient(api: openai.AsyncOpenAI) -> openai.AsyncOpenAI:
    """The client without its strictness, for what the SDK's own types deny of OpenAI's own answers.

    They want a `finish_reason` in each event of a completion, and numbers where base64 was asked for.
    """
    return api.copy(_extra_kwargs={"_strict_response_validation": False})


async def test_several_choices_with_logprobs(api: openai.AsyncOpenAI) -> None:
    answer = await api.chat.completions.create(
        model="guide", messages=ASK, n=2, logprobs=True, top_logprobs=2, max_completion_tokens=3
    )
    assert [choice.message.content for choice in answer.choices] == ["What is the ", "is the weather "]
    assert [choice.finish_reason for choice in answer.choices] == ["length", "length"]
    assert answer.choices[1].logprobs and len(answer.choices[1].logprobs.content or []) == 3
    assert answer.usage and (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (8, 6)


async def test_tools_are_called_streamed_and_whole(api: openai.AsyncOpenAI) -> None:
    whole = await api.chat.completions.create(model="guide", messages=ASK, tools=[TOOL])
    async with api.chat.completions.stream(model="guide", messages=ASK, tools=[TOOL]) as stream:
        kinds = {event.type async for event in stream}
        streamed = await stream.get_final_completion()
    assert "tool_calls.function.arguments.delta" in kinds
    for answer in (whole, streamed):
        assert answer.choices[0].finish_reason == "tool_calls"
        (call,) = answer.choices[0].message.tool_calls or []
        assert call.type == "function" and call.function.arguments == '{"location":"San Francisco"}'
    assert streamed.choices[0].message.tool_calls == whole.choices[0].message.tool_calls or streamed.usage is None


async def test_an_answer_is_parsed_into_a_type(api: openai.AsyncOpenAI) -> None:
    said: Any = [{"role": "user", "content": "'Ann' is 41 years old."}]
    parsed = await api.chat.completions.parse(model="guide", messages=said, response_format=Person)
    person = parsed.choices[0].message.parsed
    assert person and (person.name, person.age) == ("Ann", 41)


async def test_usage_at_the_end_or_throughout(api: openai.AsyncOpenAI) -> None:
    options: Any
    for options, expected in (
        ({"include_usage": True}, [7]),
        ({"include_usage": False}, []),
        ({"continuous_usage_stats": True}, [0, 1, 2, 3, 4, 5, 6, 7, 7]),
    ):
        stream = await api.chat.completions.create(
            model="guide", messages=ASK, stream=True, stream_options=options, max_completion_tokens=7, seed=1
        )
        assert [chunk.usage.completion_tokens async for chunk in stream if chunk.usage] == expected


async def test_completions_of_texts_and_of_tokens(api: openai.AsyncOpenAI) -> None:
    one = await api.completions.create(model="guide", prompt="one two three", max_tokens=2, logprobs=1, echo=True)
    assert one.choices[0].text == "one two threeone two "
    assert one.choices[0].logprobs and one.choices[0].logprobs.text_offset == [0, 4, 8, 13, 17]
    many = await api.completions.create(model="guide", prompt=["a b", "c d"], n=2, max_tokens=1, stop="q")
    assert [(choice.index, choice.text) for choice in many.choices] == [(0, "a "), (1, "b "), (2, "c "), (3, "d ")]
    assert many.usage and (many.usage.prompt_tokens, many.usage.completion_tokens) == (4, 4)
    tokens = await api.completions.create(model="guide", prompt=list(b"hi"), max_tokens=1)
    assert tokens.choices[0].text == "hi "
    assert tokens.id.startswith("cmpl-")


async def test_a_streamed_completion_says_the_same_and_is_then_cached(lenient: openai.AsyncOpenAI) -> None:
    asked: Any = {"model": "guide", "prompt": "one two", "max_tokens": 4, "temperature": 0}
    first = await lenient.completions.with_raw_response.create(**asked)
    whole = first.parse()
    for cached in (False, True):
        more: Any = {} if cached else {"user": "someone", "temperature": 0.5}
        stream = await lenient.completions.with_raw_response.create(
            **{**asked, **more}, stream=True, stream_options={"include_usage": True}
        )
        assert stream.headers["x-cache"] == ("HIT" if cached else "BYPASS")
        chunks = [chunk async for chunk in stream.parse()]
        assert "".join(chunk.choices[0].text for chunk in chunks if chunk.choices) == whole.choices[0].text
        assert chunks[-1].usage and whole.usage
        assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
        assert {chunk.object for chunk in chunks} == {"text_completion"}
        assert len({chunk.id for chunk in chunks} | {whole.id}) == 2
    assert first.headers["x-cache"] == "MISS"


async def test_embeddings_as_numbers_and_as_base64(api: openai.AsyncOpenAI, lenient: openai.AsyncOpenAI) -> None:
    texts = ["the river Rhine", "the Rhine river", "quite another"]
    packed = await lenient.embeddings.create(model="vectors", input=texts)
    plain = await api.embeddings.create(model="vectors", input=texts, encoding_format="float")
    vectors = [item.embedding for item in plain.data]
    assert [len(vector) for vector in vectors] == [16] * 3
    assert packed.data[2].embedding == pytest.approx(vectors[2], abs=1e-6)
    assert vectors[0] == pytest.approx(vectors[1])
    assert sum(a * b for a, b in zip(vectors[0], vectors[2], strict=True)) < 0.99
    assert plain.usage.prompt_tokens == 8


async def test_a_model_that_can_not_embed_is_named(api: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        await api.embeddings.create(model="guide", input="hello")
    assert "'guide'" in refused.value.message
    assert refused.value.param == "model"


async def test_an_alias_answers_under_the_models_own_name(api: openai.AsyncOpenAI) -> None:
    answer = await api.chat.completions.create(model="gpt-4o", messages=ASK)
    assert answer.model == "guide"
    models = {model.id: getattr(model, "alias_of", None) async for model in api.models.list()}
    assert models == {"guide": None, "vectors": None, "gpt-4o": "guide"}
    assert (await api.models.retrieve("gpt-4o")).id == "gpt-4o"
    with pytest.raises(openai.NotFoundError):
        await api.chat.completions.create(model="gpt-9", messages=ASK)


async def test_an_unknown_model_can_get_the_default_one() -> None:
    models = ScriptedModel(id="first", kind="scripted"), ScriptedModel(id="second", kind="scripted")
    async with running(*models, default_model="second", unknown_models_get_default=True) as service:
        answer = await service.http.post("/v1/chat/completions", json={"model": "gpt-9", "messages": ASK})
        assert answer.json()["model"] == "second"
        found = (await service.http.get("/v1/models/gpt-9")).json()
        assert (found["id"], found["alias_of"]) == ("gpt-9", "second")


async def test_tokens_in_vllms_shapes_at_both_paths(served: Service) -> None:
    for prefix in ("", "/v1"):
        asked = {"model": "gpt-4o", "prompt": "Grüße", "return_token_strs": True}
        answer = (await served.http.post(f"{prefix}/tokenize", json=asked)).json()
        assert (answer["count"], answer["max_model_len"], len(answer["token_strs"])) == (7, 2048, 7)
        back = await served.http.post(f"{prefix}/detokenize", json={"tokens": answer["tokens"]})
        assert back.json() == {"prompt": "Grüße"}
    chat = (await served.http.post("/v1/tokenize", json={"messages": ASK})).json()
    assert bytes(chat["tokens"]).decode() == ASK[0]["content"]


IMPOSSIBLE: list[tuple[str, dict[str, Any], str]] = [
    ("/v1/completions", {"prompt": "x", "best_of": 2}, "best_of"),
    ("/v1/completions", {"prompt": "x", "suffix": "y"}, "suffix"),
    ("/v1/completions", {"prompt": ["x", 1]}, "prompt"),
    ("/v1/completions", {"prompt": []}, "prompt"),
    ("/v1/completions", {"prompt": ["x"] * 129}, "prompt"),
    ("/v1/completions", {"prompt": ["x"] * 2, "n": 128}, "prompt"),
    ("/v1/completions", {"prompt": "x", "logprobs": 6}, "logprobs"),
    ("/v1/completions", {}, "prompt"),
    ("/v1/completions", {"prompt": "word " * 2049}, "prompt"),
    ("/v1/embeddings", {"model": "vectors", "input": "x", "dimensions": 3}, "dimensions"),
    ("/v1/embeddings", {"model": "vectors", "input": ""}, "input"),
    ("/v1/embeddings", {"model": "vectors", "input": ["x"] * 2049}, "input"),
    ("/v1/embeddings", {"model": "vectors", "input": "x", "encoding_format": "bytes"}, "encoding_format"),
    ("/v1/tokenize", {}, "prompt"),
    ("/v1/tokenize", {"prompt": "x", "messages": ASK}, "prompt"),
    ("/v1/detokenize", {"tokens": [-1]}, "tokens[0]"),
    ("/v1/detokenize", {"tokens": [256]}, "tokens"),
    ("/v1/chat/completions", {"messages": ASK, "audio": {"voice": "ash"}}, "audio"),
]


async def test_what_can_not_be_done_is_named(served: Service) -> None:
    for path, body, param in IMPOSSIBLE:
        answer = await served.http.post(path, json=body)
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, param), (path, param)


async def test_every_endpoint_needs_a_key(served: Service) -> None:
    for path in ("/v1/completions", "/v1/embeddings", "/v1/tokenize", "/detokenize"):
        answer = await served.http.post(path, content=b"{", headers={"authorization": "Bearer wrong"})
        assert answer.status_code == 401
