"""The default service with its real model, through OpenAI's own client."""

import json
from collections.abc import Generator
from typing import Any

import openai
import pytest

from tests.launched import DEFAULT, Launched, launched

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

MODEL = "smollm2"
CAPITAL: Any = [{"role": "user", "content": "What is the capital of France?"}]
PERSON: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 12},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
        "likes": {"enum": ["tea", "coffee"]},
    },
    "required": ["name", "age", "likes"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def api() -> Generator[openai.OpenAI]:
    """A client of the service as `make serve` starts it, from an empty state folder."""
    with launched(DEFAULT) as service, client(service) as api:
        yield api


def client(service: Launched) -> openai.OpenAI:
    return openai.OpenAI(
        base_url=f"{service.url}/v1", api_key=service.key, max_retries=0, _strict_response_validation=True
    )


def test_it_knows_the_world_and_not_only_this_product(api: openai.OpenAI) -> None:
    assert [model.id for model in api.models.list()] == [MODEL], "the demo model would mean that it was not unpacked"
    answer = api.chat.completions.create(model=MODEL, messages=CAPITAL, max_tokens=30, temperature=0)
    assert "Paris" in (answer.choices[0].message.content or "")


def test_it_streams(api: openai.OpenAI) -> None:
    # The question before was the same: an answer from the cache would come in one piece.
    not_cached = {"cache-control": "no-store"}
    asked: Any = {"model": MODEL, "messages": CAPITAL, "max_tokens": 30, "temperature": 0}
    chunks = list(api.chat.completions.create(**asked, stream=True, extra_headers=not_cached))
    assert "Paris" in "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert len(chunks) > 5


def test_json_by_a_schema_is_valid_twenty_times_of_twenty(api: openai.OpenAI) -> None:
    schema: Any = {"type": "json_schema", "json_schema": {"name": "person", "schema": PERSON, "strict": True}}
    ask: Any = [{"role": "user", "content": "Make up a person. Answer in JSON."}]
    answers = [
        choice
        for _ in range(2)
        for choice in api.chat.completions.create(
            model=MODEL, messages=ask, n=10, temperature=0.8, max_tokens=80, response_format=schema
        ).choices
    ]
    people = [json.loads(answer.message.content or "") for answer in answers]
    assert len(people) == 20
    assert all(person.keys() == PERSON["properties"].keys() for person in people)
    assert all(0 <= person["age"] <= 120 and person["likes"] in ("tea", "coffee") for person in people)


def test_a_tool_that_is_forced_is_called_with_valid_arguments(api: openai.OpenAI) -> None:
    parameters = {
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 20}, "unit": {"enum": ["celsius", "fahrenheit"]}},
        "required": ["city", "unit"],
        "additionalProperties": False,
    }
    tool: Any = {"type": "function", "function": {"name": "get_weather", "parameters": parameters}}
    answer = api.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": "What is the weather in Paris?"}],
        tools=[tool],
        tool_choice={"type": "function", "function": {"name": "get_weather"}},
        max_tokens=80,
    )
    (call,) = answer.choices[0].message.tool_calls or []
    assert call.type == "function" and call.function.name == "get_weather"
    arguments = json.loads(call.function.arguments)
    assert arguments.keys() == {"city", "unit"} and arguments["unit"] in ("celsius", "fahrenheit")


def test_logprobs_and_several_answers(api: openai.OpenAI) -> None:
    answer = api.chat.completions.create(
        model=MODEL, messages=CAPITAL, max_tokens=8, n=3, temperature=0.7, logprobs=True, top_logprobs=2
    )
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    for choice in answer.choices:
        assert choice.logprobs and choice.logprobs.content
        assert all(len(token.top_logprobs) == 2 and token.logprob <= 0 for token in choice.logprobs.content)
