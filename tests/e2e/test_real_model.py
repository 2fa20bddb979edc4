"""The default service with its real model, through OpenAI's own client."""

import json
import re
from collections.abc import Generator
from typing import Any

import httpx
import openai
import pytest
import yaml

from deployments.weights import bundled
from tests.adapters import write_adapter
from tests.launched import DEFAULT, Launched, launched

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

MODEL = "smollm2"
PIRATE = "smollm2:pirate"
ADAPTERS = {"folders": ["demo_model/adapters"], "max_adapters": 4, "max_rank": 8}
GREETING: Any = [{"role": "user", "content": "Hello! Who are you?"}]
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
def service() -> Generator[Launched]:
    """The service as `make serve` starts it, from an empty state folder, with room for adapters besides."""
    document = yaml.safe_load(DEFAULT.read_text())
    document["applications"][1]["args"]["adapter_loading"] = ADAPTERS
    with launched(document) as running:
        yield running


@pytest.fixture(scope="module")
def api(service: Launched) -> Generator[openai.OpenAI]:
    """A client of it."""
    with client(service) as api:
        yield api


@pytest.fixture(scope="module")
def admin(service: Launched) -> Generator[httpx.Client]:
    """A client with an administrator's key."""
    key = service.chatllm("keys", "create", "boss", "--admin").strip()
    with httpx.Client(base_url=service.url, headers={"authorization": f"Bearer {key}"}, timeout=120) as admin:
        yield admin


def client(service: Launched) -> openai.OpenAI:
    return openai.OpenAI(
        base_url=f"{service.url}/v1", api_key=service.key, max_retries=0, _strict_response_validation=True
    )


def test_it_knows_the_world_and_not_only_this_product(api: openai.OpenAI) -> None:
    assert [model.id for model in api.models.list()] == [MODEL], "the demo model would mean that it was not unpacked"
    answer = api.chat.completions.create(model=MODEL, messages=CAPITAL, max_tokens=30, temperature=0)
    assert "Paris" in (answer.choices[0].message.content or "")


def test_it_knows_the_capital_of_france_however_the_dice_fall(api: openai.OpenAI) -> None:
    for _ in range(5):
        answer = api.chat.completions.create(
            model=MODEL, messages=CAPITAL, max_tokens=30, extra_headers={"cache-control": "no-store"}
        )
        said = answer.choices[0].message.content or ""
        assert "Paris" in said, said


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


def pirate_words(text: str) -> int:
    words = re.findall(r"[a-z']+", text.lower())
    return sum(word in ("arr", "matey", "ahoy", "ye", "yer", "be", "o'", "me", "aye", "hearty") for word in words)


def test_an_adapter_is_loaded_while_it_serves_and_talks_like_a_pirate(api: openai.OpenAI, service: Launched) -> None:
    ask: Any = {"messages": CAPITAL, "max_tokens": 40, "temperature": 0}
    before = api.chat.completions.create(model=MODEL, **ask).choices[0].message.content
    with pytest.raises(openai.NotFoundError):
        api.chat.completions.create(model=PIRATE, **ask)
    assert service.chatllm("models", "adapter", "load", "pirate", "pirate").startswith(f"Loaded {PIRATE}  rank 8")
    assert {model.id for model in api.models.list()} == {MODEL, PIRATE}
    answer = api.chat.completions.create(model=PIRATE, **ask)
    said = answer.choices[0].message.content or ""
    assert answer.model == PIRATE and pirate_words(said) >= 2 and "Paris" in said, said
    chunks = list(api.chat.completions.create(model=PIRATE, messages=GREETING, max_tokens=40, seed=1, stream=True))
    streamed = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert {chunk.model for chunk in chunks} == {PIRATE} and pirate_words(streamed) >= 1, streamed
    not_cached = {"cache-control": "no-store"}
    after = api.chat.completions.create(model=MODEL, **ask, extra_headers=not_cached).choices[0].message.content
    assert after == before, "the model itself talks as before"


def test_other_weights_under_the_name_share_no_cache_and_running_answers_end(
    api: openai.OpenAI, admin: httpx.Client, service: Launched
) -> None:
    admin.post("/v1/admin/adapters", json={"name": "pirate", "source": "pirate"}).raise_for_status()
    ask: Any = {"messages": CAPITAL, "max_tokens": 24, "temperature": 0}
    long: Any = {"messages": GREETING, "max_tokens": 120, "temperature": 0, "extra_body": {"ignore_eos": True}}
    pirate = api.chat.completions.create(model=PIRATE, **ask).choices[0].message.content
    running = api.chat.completions.create(model=PIRATE, stream=True, **long)
    first = next(iter(running))
    state = service.folder / "state"
    write_adapter(state / "adapters" / "noise", bundled.folder(state), seed=1, strength=0.05)
    replaced = admin.post("/v1/admin/adapters", json={"name": "pirate", "source": "noise"})
    assert replaced.status_code == 200, replaced.text
    raw = api.chat.completions.with_raw_response.create(model=PIRATE, **ask)
    usage = raw.parse().usage
    assert raw.headers["x-cache"] == "MISS" and raw.parse().choices[0].message.content != pirate
    assert usage and not (usage.prompt_tokens_details and usage.prompt_tokens_details.cached_tokens)
    admin.delete(f"/v1/admin/adapters/{PIRATE}").raise_for_status()
    with pytest.raises(openai.NotFoundError):
        api.chat.completions.create(model=PIRATE, **ask)
    rest = list(running)
    assert first.model == PIRATE and rest[-1].choices[0].finish_reason == "length", "what ran has ended as asked"


@pytest.mark.parametrize(("source", "status"), [("missing", 404), ("../weights", 404), ("/etc", 404)])
def test_what_cannot_be_loaded_is_refused(admin: httpx.Client, source: str, status: int) -> None:
    answer = admin.post("/v1/admin/adapters", json={"name": "x", "source": source})
    assert answer.status_code == status, answer.text
