"""Nothing in a chat occupies a model replica's event loop, or keeps its other threads from running, for long."""

import asyncio
import time
from collections.abc import AsyncGenerator
from types import SimpleNamespace
from typing import Any

import orjson
import pytest

from deployments.errors import BadRequest, Unavailable
from deployments.infra.heap import freeze_heap
from deployments.models.assembly import sse
from deployments.models.prompts import validated
from deployments.models.vllm.long_texts import LongTexts
from deployments.models.vllm.replica import VLLMReplica
from tests.stalls import watched_loop
from tests.vllm_reader import ChatCompletionRequest, Engine, Reader, VLLMClientError

pytestmark = pytest.mark.filterwarnings("ignore:max_tokens is deprecated")  # vLLM reads it itself

MAX_S = 0.1
"""It is less than a fifth of that on an idle machine."""
TEXT = {"type": "text", "text": "x" * 80}
PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,"}}
CALL = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def calling(*arguments: str) -> list[dict[str, Any]]:
    calls = [
        {"id": f"c{at}", "type": "function", "function": {"name": "f", "arguments": a}}
        for at, a in enumerate(arguments)
    ]
    outputs = [{"role": "tool", "tool_call_id": call["id"], "content": "done"} for call in calls]
    return [user("hi"), {"role": "assistant", "content": None, "tool_calls": calls}, *outputs]


LARGE: dict[str, list[dict[str, Any]]] = {
    "parts": [user([TEXT] * 200_000)],
    "messages": [user("x" * 80), {"role": "assistant", "content": "yes"}] * 40_000,
    "instructions": [*[{"role": "system", "content": "x" * 80}] * 60_000, user("hi")],
    "parts_and_a_picture": [user([*[TEXT] * 200_000, PICTURE])],
    "arguments": calling('{"a":[' + "[]," * 1_000_000 + "0]}"),
}


@pytest.mark.alone
@pytest.mark.parametrize("case", LARGE)
async def test_a_large_chat_is_read_beside_the_event_loop(case: str) -> None:
    reader, body = Reader(), orjson.dumps({"model": "m", "messages": LARGE[case]})
    request = await asyncio.to_thread(validated, ChatCompletionRequest, orjson.loads(body))
    freeze_heap()  # as a replica does before it serves
    # None of them fits the window, or can be read.
    with watched_loop() as occupied, pytest.raises((VLLMClientError, ValueError)):
        await asyncio.create_task(reader.renderer.render_chat(request))  # type: ignore[arg-type]
    assert occupied.longest_s < MAX_S, occupied.callback


@pytest.mark.alone
@pytest.mark.parametrize(
    "messages",
    [
        LARGE["messages"][:20_000],
        [user([TEXT])] * 16_000,
        [user([*[TEXT] * 30_000, PICTURE])],
        [user([PICTURE] * 2_000)],
        [{"role": "assistant", "content": "x", "name": "n"}] * 5_000,
    ],
    ids=["messages", "parts", "a_picture", "pictures", "names"],
)
def test_no_call_of_pydantic_lasts(messages: list[dict[str, Any]]) -> None:
    """It lets no other thread run, the event loop's included."""
    longest = 0.0

    class Timed(ChatCompletionRequest):
        @classmethod
        def model_validate(cls, obj: Any, **options: Any) -> Any:
            nonlocal longest
            began = time.thread_time()
            try:
                return ChatCompletionRequest.model_validate(obj, **options)
            finally:
                longest = max(longest, time.thread_time() - began)

    read: Any = validated(Timed, {"model": "m", "messages": messages})
    assert len(read.messages) == len(messages)
    assert longest < 0.05


MIXED: list[dict[str, Any]] = [
    {"role": "system", "content": "be short"},
    user([TEXT, PICTURE] * 100),
    {"role": "assistant", "content": None, "tool_calls": [CALL], "reasoning_content": "hm"},
    {"role": "tool", "tool_call_id": "a", "content": [TEXT]},
    {"role": "assistant", "content": "yes", "name": "me"},
    *[user([TEXT] * 3), {"role": "assistant", "content": "yes"}] * 100,
]


def test_many_messages_are_validated_as_vllm_does() -> None:
    ours: Any = validated(ChatCompletionRequest, orjson.loads(orjson.dumps({"model": "m", "messages": MIXED})))
    theirs: Any = ChatCompletionRequest.model_validate(orjson.loads(orjson.dumps({"model": "m", "messages": MIXED})))
    for one, other in zip(ours.messages, theirs.messages, strict=True):
        assert {**one, "content": _listed(one)} == {**other, "content": _listed(other)}
    assert ours.model_dump(exclude={"messages", "request_id"}) == theirs.model_dump(exclude={"messages", "request_id"})


def _listed(message: dict[str, Any]) -> Any:
    content = message.get("content")
    return content if content is None or isinstance(content, str) else list(content)


def test_what_is_wrong_in_one_of_many_messages_is_named() -> None:
    messages = [*MIXED, {"role": "assistant", "content": "x", "tool_calls": [7]}]
    with pytest.raises(BadRequest) as caught:
        validated(ChatCompletionRequest, {"model": "m", "messages": messages})
    assert (caught.value.param or "").startswith(f"messages.{len(MIXED)}")


@pytest.mark.parametrize(
    "arguments",
    ["[" * 3_000, "[" * 3_000 + "]" * 3_000, '{"a":' * 2_000 + "1" + "}" * 2_000, '{"a":' + "1" * 5_000 + "}"],
    ids=["open", "deep_list", "deep_object", "digits"],
)
async def test_a_conversation_goes_on_after_arguments_that_python_cannot_decode(arguments: str) -> None:
    prompt = await Reader().read({"model": "m", "messages": [*calling(arguments), user("and now?")]})
    assert "and now?" in prompt


@pytest.mark.alone
async def test_a_long_stream_is_put_together_beside_the_loop() -> None:
    """Of several choices, tool calls and log probabilities the whole answer is made of the events that were sent."""
    choice = {"index": 0, "delta": {"content": "word "}, "logprobs": None, "finish_reason": None}
    event = sse({"id": "c", "object": "chat.completion.chunk", "model": "m", "choices": [choice]}).decode()

    async def events() -> AsyncGenerator[str]:
        for _ in range(400):
            for _ in range(100):
                yield event
            await asyncio.sleep(0)

    async def last() -> Any:
        *_, reply = [message async for message in VLLMReplica.__new__(VLLMReplica)._streamed(events())]
        return reply

    freeze_heap()
    with watched_loop() as occupied:
        reply = await asyncio.create_task(last())
    assert orjson.loads(reply.body)["choices"][0]["message"]["content"] == "word " * 40_000
    assert occupied.longest_s < MAX_S, occupied.callback


TEXTS = ["Grüße an alle! " * 3_000, "x", "<|im_start|>user\nhi<|im_end|>", "".join(map(chr, range(33, 3_000)))]


@pytest.fixture
async def long_texts() -> AsyncGenerator[LongTexts]:
    texts = LongTexts(Reader().renderer.renderer.get_tokenizer(), 2048)
    yield texts
    await texts.aclose()


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
@pytest.mark.parametrize("adds", [True, False])
async def test_a_long_text_is_tokenized_as_others_are(long_texts: LongTexts, text: str, adds: bool) -> None:
    tokenizer = Reader().renderer.renderer.get_tokenizer()
    asked = {"prompt": text, "add_special_tokens": adds, "return_token_strs": True}
    answer = orjson.loads(await long_texts.tokenized(asked))
    tokens = tokenizer.encode(text, add_special_tokens=adds)
    assert answer == {
        "count": len(tokens),
        "max_model_len": 2048,
        "tokens": tokens,
        "token_strs": tokenizer.convert_ids_to_tokens(tokens),
    }


@pytest.mark.alone
async def test_a_long_text_takes_this_process_little_time(long_texts: LongTexts) -> None:
    """All its threads count: one that makes or frees millions of objects lets no other run."""
    await long_texts.tokenized({"prompt": "to start it"})
    began = time.process_time()
    answer = await long_texts.tokenized({"prompt": "word and another one " * 50_000, "return_token_strs": True})
    assert time.process_time() - began < 0.2
    assert len(orjson.loads(answer)["token_strs"]) > 100_000


async def test_a_text_that_nobody_waits_for_is_given_up(long_texts: LongTexts) -> None:
    await long_texts.tokenized({"prompt": "to start it"})
    task = asyncio.create_task(long_texts.tokenized({"prompt": "word and another one " * 400_000}))
    await asyncio.sleep(0.2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert orjson.loads(await long_texts.tokenized({"prompt": "hello"}))["count"] < 10


async def test_a_lost_process_is_told_and_replaced(long_texts: LongTexts) -> None:
    await long_texts.tokenized({"prompt": "to start it"})
    process = long_texts._process
    assert process is not None
    process.kill()
    await process.wait()
    with pytest.raises(Unavailable):
        await long_texts.tokenized({"prompt": "hello"})
    assert orjson.loads(await long_texts.tokenized({"prompt": "hello"}))["count"] < 10


def test_a_text_that_no_window_holds_is_not_counted() -> None:
    reader, counted = Reader(), list[int]()
    tokenizer = reader._engine.counting.tokenizer
    encode = tokenizer.encode

    class Counting:
        max_chars_per_token = tokenizer.max_chars_per_token

        def encode(self, text: str) -> list[int]:
            counted.append(len(text))
            return encode(text)

    reader._engine.counting = SimpleNamespace(tokenizer=Counting())
    body = {"messages": [user("x y " * 1_000_000), user("hi")], "max_tokens": 10}
    assert Engine.trim(reader._engine, body) == [user("hi")]
    assert max(counted) < 100
