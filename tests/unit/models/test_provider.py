"""A provider's replica on LangChain's own fake models, and how it is made or why it is not."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

import orjson
import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from pydantic import ValidationError

from deployments.config import ProviderModel
from deployments.errors import BadRequest, ProviderBusy, ProviderFailed, Timeout
from deployments.models.assembly import assemble, payloads
from deployments.models.protocol import Failed, Frames, ModelRequest, Progress, Reply
from deployments.models.provider.construction import Unusable, constructed
from deployments.models.provider.conversation import conversation
from deployments.models.provider.failures import translated
from deployments.models.provider.replica import ProviderReplica

SETTINGS = ProviderModel(id="fake", kind="provider", model="fake:fake")


def replica(model: Any) -> ProviderReplica:
    made = ProviderReplica(SETTINGS)
    made.use(model)
    return made


async def answer(model: Any, stream: bool = True, /, **request: Any) -> tuple[list[dict[str, Any]], Any]:
    """The events of an answer, and its end: a completion, or the error."""
    body = orjson.dumps({"messages": [{"role": "user", "content": "hi"}], **request})
    frames, end = b"", None
    async for message in replica(model).generate(ModelRequest("r1", body, stream)):
        match message:
            case Frames(data):
                frames += data
            case Reply(whole):
                end = orjson.loads(whole)
            case Failed(error):
                end = error
            case _:
                pass
    return payloads(frames), end


class Speaking(GenericFakeChatModel):
    """Streams the chunks that it is given, as a provider's class makes them."""

    chunks: list[AIMessageChunk]
    messages: Iterator[Any] = iter(())

    async def _astream(self, messages: Any, stop: Any = None, run_manager: Any = None, **_: Any) -> AsyncIterator[Any]:
        for chunk in self.chunks:
            yield ChatGenerationChunk(message=chunk)


async def test_a_fake_model_streams_and_answers_whole_alike() -> None:
    events, whole = await answer(GenericFakeChatModel(messages=iter(["one two three"])))
    assert [e["choices"][0]["delta"].get("content") for e in events] == ["", "one", " ", "two", " ", "three", None]
    assert assemble(events)["choices"] == whole["choices"]
    none, plain = await answer(GenericFakeChatModel(messages=iter(["one two three"])), False)
    assert none == [] and plain["choices"] == whole["choices"]
    assert whole["usage"]["completion_tokens"] > 0 and whole["model"] == "fake"


async def test_a_class_that_cannot_stream_answers_in_one_piece() -> None:
    class Whole(BaseChatModel):
        """No provider's stream: LangChain gives the whole message as one piece."""

        @property
        def _llm_type(self) -> str:
            return "whole"

        def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
            usage: Any = {"input_tokens": 3, "output_tokens": 5, "total_tokens": 8}
            calls: Any = [{"name": "get_weather", "args": {"city": "Bonn"}, "id": "c1", "type": "tool_call"}]
            said = AIMessage(content=str(messages[0].content), tool_calls=calls, usage_metadata=usage)
            return ChatResult(generations=[ChatGeneration(message=said)])

    _, whole = await answer(Whole())
    message = whole["choices"][0]["message"]
    assert message["content"] == "hi"
    assert message["tool_calls"][0]["function"] == {"name": "get_weather", "arguments": '{"city":"Bonn"}'}
    assert (whole["choices"][0]["finish_reason"], whole["usage"]["total_tokens"]) == ("tool_calls", 8)


@pytest.mark.parametrize(
    "field", ["temperature", "top_p", "seed", "max_tokens", "logprobs", "reasoning_effort", "echo"]
)
async def test_a_parameter_that_the_class_lacks_is_refused(field: str) -> None:
    _, error = await answer(GenericFakeChatModel(messages=iter(["x"])), **{field: 1})
    assert isinstance(error, BadRequest) and error.param == field


async def test_tools_that_the_class_cannot_offer_are_refused() -> None:
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
    _, error = await answer(GenericFakeChatModel(messages=iter(["x"])), tools=tools)
    assert isinstance(error, BadRequest) and error.param == "tools"
    events, _ = await answer(GenericFakeChatModel(messages=iter(["x"])), tools=tools, tool_choice="none")
    assert events


async def test_the_chunks_of_other_providers_become_openais() -> None:
    """Anthropic's: thinking, calls numbered together with the texts, figures in the first and the last chunk."""
    start: Any = {"input_tokens": 10, "output_tokens": 1, "total_tokens": 11, "input_token_details": {"cache_read": 4}}
    end: Any = {"input_tokens": 0, "output_tokens": 8, "total_tokens": 8}
    calls: Any = [
        [{"name": "get_weather", "args": "", "id": "t1", "index": 2, "type": "tool_call_chunk"}],
        [{"name": None, "args": '{"city":', "id": None, "index": 2, "type": "tool_call_chunk"}],
        [{"name": None, "args": '"Bonn"}', "id": None, "index": 2, "type": "tool_call_chunk"}],
        [{"name": "get_clock", "args": "{}", "id": "t2", "index": 3, "type": "tool_call_chunk"}],
    ]
    about = {"model_provider": "anthropic"}
    chunks = [
        AIMessageChunk(content=[], usage_metadata=start, response_metadata=about),
        AIMessageChunk(content=[{"type": "thinking", "thinking": "Hm.", "index": 0}], response_metadata=about),
        AIMessageChunk(content=[{"type": "text", "text": "Let us see.", "index": 1}], response_metadata=about),
        *(AIMessageChunk(content=[], tool_call_chunks=call, response_metadata=about) for call in calls),
        AIMessageChunk(content="", usage_metadata=end, response_metadata={"stop_reason": "tool_use"}),
    ]
    events, whole = await answer(Speaking(chunks=chunks))
    message = whole["choices"][0]["message"]
    assert (message["reasoning"], message["content"]) == ("Hm.", "Let us see.")
    assert [(c["id"], c["function"]["name"], c["function"]["arguments"]) for c in message["tool_calls"]] == [
        ("t1", "get_weather", '{"city":"Bonn"}'),
        ("t2", "get_clock", "{}"),
    ]
    assert whole["choices"][0]["finish_reason"] == "tool_calls"
    assert whole["usage"] == {
        "prompt_tokens": 10,
        "completion_tokens": 9,
        "total_tokens": 19,
        "prompt_tokens_details": {"cached_tokens": 4},
    }
    assert assemble(events)["choices"] == whole["choices"]


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ({"finish_reason": "STOP"}, "stop"),
        ({"finish_reason": "MAX_TOKENS"}, "length"),
        ({"finish_reason": "SAFETY"}, "content_filter"),
        ({"stop_reason": "end_turn"}, "stop"),
        ({"stop_reason": "max_tokens"}, "length"),
        ({"done_reason": "length"}, "length"),
        ({}, "stop"),
    ],
)
async def test_every_providers_word_for_the_end(told: dict[str, str], reason: str) -> None:
    events, whole = await answer(
        Speaking(chunks=[AIMessageChunk(content="x"), AIMessageChunk(content="", response_metadata=told)])
    )
    assert whole["choices"][0]["finish_reason"] == reason == events[-1]["choices"][0]["finish_reason"]


async def test_calls_without_numbers_are_calls_of_their_own() -> None:
    chunks: Any = [
        AIMessageChunk(content="", tool_call_chunks=[{"name": name, "args": "{}", "id": None, "index": None}])
        for name in ("a", "b")
    ]
    _, whole = await answer(Speaking(chunks=chunks))
    calls = whole["choices"][0]["message"]["tool_calls"]
    assert [call["function"]["name"] for call in calls] == ["a", "b"] and len({call["id"] for call in calls}) == 2


@pytest.mark.parametrize("said", [0, 1])
async def test_a_failure_ends_the_answer_wherever_it_happens(said: int) -> None:
    class Failing(Speaking):
        async def _astream(self, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
            for _ in range(said):
                yield ChatGenerationChunk(message=AIMessageChunk(content="x"))
            raise RuntimeError("sk-secret")

    events, error = await answer(Failing(chunks=[]))
    assert isinstance(error, ProviderFailed) and "secret" not in error.message
    assert bool(events) is bool(said)


async def test_closing_the_generator_ends_the_providers_stream_at_once() -> None:
    ended = asyncio.Event()

    class Endless(Speaking):
        async def _astream(self, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
            try:
                while True:
                    yield ChatGenerationChunk(message=AIMessageChunk(content="x"))
                    await asyncio.sleep(0.001)
            finally:
                ended.set()

    made = replica(Endless(chunks=[]))
    messages = made.generate(ModelRequest("r1", b'{"messages":[{"role":"user","content":"hi"}]}', stream=True))
    told = await anext(messages)
    assert isinstance(told, Progress) and told.prompt_tokens > 0
    assert isinstance(await anext(messages), Frames) and await made.running() == 1
    await messages.aclose()
    await asyncio.wait_for(ended.wait(), 1)
    assert (await made.running(), await made.waiting()) == (0, 0)


def test_a_conversation_is_langchains() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
    broken = {"id": "c2", "type": "function", "function": {"name": "f", "arguments": '{"a":'}}
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}
    said: list[dict[str, Any]] = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "See:"}, image], "name": "ann"},
        {"role": "assistant", "content": None, "tool_calls": [call, broken], "reasoning": "Hm."},
        {"role": "tool", "tool_call_id": "c1", "content": "2"},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]},
    ]
    system, user, assistant, tool, refused = conversation(said, ("text", "image"))
    assert isinstance(system, SystemMessage) and isinstance(user, HumanMessage) and isinstance(tool, ToolMessage)
    assert user.content == said[1]["content"] and user.name == "ann"
    assert isinstance(assistant, AIMessage) and assistant.content == ""
    assert [c["args"] for c in assistant.tool_calls] == [{"a": 1}]
    assert [c["args"] for c in assistant.invalid_tool_calls] == ['{"a":']
    assert refused.content == [{"type": "text", "text": "No."}]
    with pytest.raises(BadRequest, match="only text input"):
        conversation(said, ("text",))


class Refused(Exception):
    """As Anthropic's and OpenAI's packages have it."""

    def __init__(self, status: int, body: Any = None, headers: dict[str, str] | None = None) -> None:
        super().__init__("Error code: …")
        self.status_code, self.body = status, body
        self.response = type("Response", (), {"headers": headers or {}, "status_code": status})()


class GoogleError(Exception):
    """As google-genai has it."""

    def __init__(self, code: int) -> None:
        super().__init__("RESOURCE_EXHAUSTED")
        self.code, self.details = code, {"error": {"message": "Quota.", "code": code}}


def test_errors_of_other_packages() -> None:
    busy = translated(Refused(429, {"type": "error", "error": {"message": "x"}}, {"retry-after": "2.5"}), "m")
    assert isinstance(busy, ProviderBusy) and busy.retry_after_s == 2.5
    wrapped = RuntimeError("Invalid argument provided to Gemini")
    wrapped.__cause__ = GoogleError(429)
    assert isinstance(translated(wrapped, "m"), ProviderBusy)
    long = translated(Refused(400, {"error": {"message": "prompt is too long: 9 tokens > 5 maximum"}}), "m")
    assert long.code == "context_length_exceeded"
    assert translated(Refused(400, {"message": "x" * 5000}), "m").message.startswith("The model's provider cannot")
    assert isinstance(translated(TimeoutError(), "m"), Timeout)
    assert isinstance(translated(ConnectionRefusedError(), "m"), ProviderFailed)
    assert type(translated(ValueError("odd"), "m")) is ProviderFailed


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"model": "cohere:command"}, "install langchain-cohere"),
        ({"model": "nobody:x"}, "nobody"),
        ({"model": "openai:x", "api_key_env": "NOT_SET_ANYWHERE"}, "set NOT_SET_ANYWHERE in the environment"),
        ({"model": "openai:x"}, "api_key"),
        ({"model": "openai:x", "api_key_env": "A_KEY", "parameters": {"temperature": "hot"}}, "temperature"),
    ],
)
def test_what_cannot_be_made_says_why_in_one_sentence(
    settings: dict[str, Any], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setenv("A_KEY", "sk-very-secret")
    with pytest.raises(Unusable) as raised:
        constructed(ProviderModel(id="m", kind="provider", **settings))
    message = str(raised.value)
    assert said in message and "secret" not in message and "\n" not in message
    assert raised.value.__suppress_context__ or raised.value.__context__ is None  # a traceback tells no values


def test_a_key_goes_to_its_own_provider_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-openais-own")
    made: Any = constructed(ProviderModel(id="m", kind="provider", model="openai:x", base_url="http://elsewhere/v1"))
    assert made.openai_api_key.get_secret_value() == "none" and made.max_retries == 0 and made.stream_usage
    assert made.stream_chunk_timeout is None  # with it, cancellations are lost on a busy machine


def test_anthropics_class_takes_the_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("langchain_anthropic")
    monkeypatch.setenv("A_KEY", "sk-ant")
    model = ProviderModel(
        id="m", kind="provider", model="anthropic:claude-sonnet-4-5", api_key_env="A_KEY", timeout_s=7
    )
    made: Any = constructed(model)
    assert (made.max_retries, made.default_request_timeout) == (0, 7)


@pytest.mark.parametrize(
    "settings",
    [
        {"model": "gpt-5"},
        {"model": "openai:x", "base_url": "ftp://x"},
        {"model": "openai:x", "base_url": "https://user:word@example.org/v1"},
        {"model": "openai:x", "api_key_env": "sk-1234"},
        {"model": "openai:x", "parameters": {"api_key": "sk-1"}},
        {"model": "openai:x", "parameters": {"default_headers": {"Authorization": "Bearer x"}}},
        {"model": "openai:x", "parameters": {"n": 2}},
    ],
)
def test_a_file_holds_neither_secrets_nor_what_breaks_the_service(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ProviderModel(id="m", kind="provider", **settings)


def test_its_replica_imports_no_engine() -> None:
    code = (
        "import asyncio, sys\n"
        "from deployments.config import ProviderModel\n"
        "from deployments.models.provider.replica import ProviderReplica\n"
        "model = ProviderModel(id='m', kind='provider', model='openai:x', base_url='http://127.0.0.1:9/v1')\n"
        "asyncio.run(ProviderReplica(model).start())\n"
        "print(*sorted({'vllm', 'torch', 'transformers'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == ""
