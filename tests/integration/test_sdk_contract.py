"""OpenAI's client at its strictest, blocking and not, through the parts of the API that remember."""

import inspect
from collections.abc import AsyncIterator, Generator
from typing import Any

import openai
import pytest

from deployments.config import ScriptedModel
from tests.integration.serving import Served, served_aside

HELLO = "How long is the Rhine?"


@pytest.fixture(scope="module")
def service(postgres_url: str, valkey_url: str) -> Generator[Served]:
    with served_aside(
        postgres_url, valkey_url, ScriptedModel(id="quick", kind="scripted", tokens=8, embedding_dimensions=8)
    ) as service:
        yield service


@pytest.fixture(params=[openai.OpenAI, openai.AsyncOpenAI])
async def api(service: Served, request: pytest.FixtureRequest) -> AsyncIterator[Any]:
    """Each client in turn; it raises if an answer is not what its types say."""
    client = request.param(
        base_url=f"{service.url}/v1",
        api_key=service.key,
        max_retries=0,
        timeout=20,
        _strict_response_validation=True,
    )
    yield client
    await done(client.close())


async def done(result: Any) -> Any:
    """The result of a call, whichever client it was made with."""
    return await result if inspect.isawaitable(result) else result


def lenient(api: Any) -> Any:
    """The client without its strictness, for what the SDK's own types deny of OpenAI's own answers."""
    return api.copy(_extra_kwargs={"_strict_response_validation": False})


async def all_of(stream: Any) -> list[Any]:
    """The events of a stream, or the entries of all pages."""
    stream = stream if hasattr(stream, "__aiter__") else await done(stream)
    return [event async for event in stream] if hasattr(stream, "__aiter__") else list(stream)


async def test_models(api: Any) -> None:
    assert [model.id for model in await all_of(api.models.list())] == ["quick"]
    assert (await done(api.models.retrieve("quick"))).object == "model"
    with pytest.raises(openai.NotFoundError, match="gpt-9"):
        await done(api.models.retrieve("gpt-9"))


async def test_chat_whole_and_streamed(api: Any) -> None:
    request: Any = {"model": "quick", "messages": [{"role": "user", "content": HELLO}]}
    whole = await done(api.chat.completions.create(**request))
    chunks = await all_of(
        await done(api.chat.completions.create(**request, stream=True, stream_options={"include_usage": True}))
    )
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens


async def test_stored_completions(api: Any) -> None:
    made = await done(
        api.chat.completions.create(
            model="quick", messages=[{"role": "user", "content": HELLO}], store=True, metadata={"kind": "river"}
        )
    )
    found = await done(api.chat.completions.retrieve(made.id))
    assert found.choices == made.choices
    assert made.id in [entry.id for entry in await all_of(api.chat.completions.list(metadata={"kind": "river"}))]
    messages = await all_of(lenient(api).chat.completions.messages.list(made.id))
    assert [message.content for message in messages] == [HELLO]
    assert (await done(api.chat.completions.update(made.id, metadata={"kind": "x"}))).metadata == {"kind": "x"}
    assert (await done(api.chat.completions.delete(made.id))).deleted


async def test_conversations_and_items(api: Any) -> None:
    item: Any = {"type": "message", "role": "user", "content": HELLO}
    made = await done(api.conversations.create(items=[item], metadata={"topic": "rivers"}))
    assert (await done(api.conversations.retrieve(made.id))).metadata == {"topic": "rivers"}
    assert (await done(api.conversations.update(made.id, metadata={}))).metadata == {}
    added = await done(api.conversations.items.create(made.id, items=[item, {**item, "role": "assistant"}]))
    assert len(added.data) == 2
    assert len(await all_of(api.conversations.items.list(made.id, limit=1))) == 3
    one = await done(api.conversations.items.retrieve(added.last_id, conversation_id=made.id))
    assert one.role == "assistant"
    assert (await done(api.conversations.items.delete(one.id, conversation_id=made.id))).id == made.id
    assert (await done(api.conversations.delete(made.id))).deleted
    with pytest.raises(openai.NotFoundError):
        await done(api.conversations.retrieve(made.id))


async def test_responses_whole_streamed_and_chained(api: Any) -> None:
    first = await done(api.responses.create(model="quick", input=HELLO))
    assert first.output_text
    events = await all_of(
        await done(api.responses.create(model="quick", input="And now?", previous_response_id=first.id, stream=True))
    )
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert events[-1].type == "response.completed"
    second = events[-1].response
    assert second.previous_response_id == first.id
    kept = await done(api.responses.retrieve(second.id))
    assert kept.output_text == second.output_text
    assert {item.type for item in await all_of(api.responses.input_items.list(second.id))} == {"message"}
    await done(api.responses.delete(second.id))
    with pytest.raises(openai.NotFoundError):
        await done(api.responses.retrieve(second.id))


async def test_completions_and_embeddings(api: Any) -> None:
    whole = await done(api.completions.create(model="quick", prompt=HELLO))
    chunks = await all_of(await done(lenient(api).completions.create(model="quick", prompt=HELLO, stream=True)))
    assert "".join(chunk.choices[0].text for chunk in chunks if chunk.choices) == whole.choices[0].text
    vectors = await done(api.embeddings.create(model="quick", input=[HELLO, "x"], encoding_format="float"))
    assert len(vectors.data) == 2


async def test_what_openais_own_tests_send(api: Any) -> None:
    """Hints, counts and references, as the tests of OpenAI's client send them."""
    assert (await done(api.models.retrieve("quick"))).owned_by
    hints: Any = {
        "background_options": {"completion_window": "soonest", "continuation_id": "x"},
        "image": {"context_compression": "auto"},
        "include": ["reasoning.encrypted_content"],
        "max_tool_calls": 0,
        "prompt_cache_options": {"mode": "implicit", "ttl": "30m"},
        "reasoning": {"context": "auto", "effort": "none", "generate_summary": "auto", "summary": "auto"},
        "service_tier": "flex",
        "text": {"format": {"type": "text"}, "verbosity": "low"},
        "tool_choice": "none",
        "tools": [{"type": "function", "name": "name", "parameters": {"foo": "bar"}, "strict": True}],
    }
    first = await done(api.responses.create(model="quick", input=HELLO, **hints))
    options: Any = {"stream": True, "stream_options": {"include_obfuscation": True}}
    events = await all_of(await done(api.responses.create(model="quick", input=HELLO, **hints, **options)))
    assert events[-1].type == "response.completed"
    again = await done(api.responses.retrieve(first.id, include=["reasoning.encrypted_content"]))
    assert again.text.verbosity == "low"
    counted: Any = {name: hints[name] for name in ("reasoning", "text", "tool_choice", "tools")}
    count = api.responses.input_tokens.count
    assert (await done(count())).input_tokens == 0
    told = await done(count(model="quick", previous_response_id=first.id, personality="friendly", **counted))
    assert told.object == "response.input_tokens" and told.input_tokens > len(HELLO)
    chat: Any = {"model": "quick", "messages": [{"role": "user", "content": HELLO}], "verbosity": "low"}
    assert (await done(api.chat.completions.create(**chat, service_tier="priority"))).choices
    chunks = await all_of(await done(api.chat.completions.create(**chat, **options)))
    assert chunks[-1].choices[0].finish_reason
    said: Any = {"type": "item_reference", "id": first.output[-1].id}
    assert (await done(api.responses.create(model="quick", input=[said, {"role": "user", "content": "x"}]))).output_text
