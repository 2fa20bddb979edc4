"""What was accepted, or said by a model, can be continued for ever: vLLM's own parser reads every later turn."""

import asyncio
import threading
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from deployments.config import ScriptedModel
from deployments.history.types import NewItem
from tests.unit.api.conftest import Service, running
from tests.vllm_reader import Reader, ReadingReplica

pytestmark = pytest.mark.filterwarnings("ignore:max_tokens is deprecated:DeprecationWarning")  # vLLM reads it itself

PARAMETERS = {"properties": {"q": {"type": "string"}}}
LOOK: dict[str, Any] = {"type": "function", "function": {"name": "look_up", "parameters": PARAMETERS}}
USER = {"role": "user", "content": "please look up 'the Rhine'"}


@dataclass
class Client:
    """A client of the service, and what its model was given."""

    http: httpx.Client
    model: ReadingReplica
    service: Service
    loop: asyncio.AbstractEventLoop

    def conversation(self, *items: dict[str, Any]) -> str:
        made = self.http.post("/v1/conversations", json={"items": list(items)})
        assert made.status_code == 200, made.text
        return str(made.json()["id"])

    def chat(self, conversation: str, message: Any = "and now?", **more: Any) -> httpx.Response:
        asked = {"role": "user", "content": message} if isinstance(message, str) else message
        body = {"conversation": conversation, "messages": [asked], **more}
        return self.http.post("/v1/chat/completions", json=body)

    def respond(self, **more: Any) -> httpx.Response:
        return self.http.post("/v1/responses", json={"input": "and now?", **more})

    def append(self, conversation: str, *items: NewItem) -> None:
        """Store items as an earlier version of the service may have."""

        async def append() -> None:
            (key,) = await self.service.keys.list()
            await self.service.history.append(key.tenant, conversation, items)

        asyncio.run_coroutine_threadsafe(append(), self.loop).result(10)

    def assert_goes_on(self, conversation: str) -> None:
        """Continue a conversation by chat and by responses, with truncation and without."""
        for answer in (
            self.chat(conversation),
            self.respond(conversation=conversation),
            self.respond(conversation=conversation, truncation="auto"),
        ):
            assert answer.status_code == 200, answer.text


@pytest.fixture(scope="module")
def client() -> Generator[Client]:
    """A service in another thread, whose model reads as vLLM does."""
    made: list[Client] = []
    ready, stop, loop = threading.Event(), asyncio.Event(), asyncio.new_event_loop()
    reader = Reader()

    async def serve() -> None:
        quick = ScriptedModel(id="quick", kind="scripted", tokens=4, context_tokens=10**6)
        slow = quick.model_copy(update={"id": "slow", "tokens": 100, "token_ms": 5.0})
        async with running(quick, slow) as service:
            model = ReadingReplica(quick, reader)
            service.models.replicas = {"quick": model, "slow": ReadingReplica(slow, reader)}
            with httpx.Client(base_url=service.url, headers=service.http.headers, timeout=60) as http:
                made.append(Client(http, model, service, loop))
                ready.set()
                await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        assert ready.wait(60)
        yield made[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(30)
        loop.close()


@pytest.mark.parametrize("streams", [True, False])
def test_a_chat_goes_on_after_a_tool_call_that_was_cut_off(client: Client, streams: bool) -> None:
    conversation = client.conversation()
    cut = client.chat(conversation, USER, tools=[LOOK], max_tokens=2, stream=streams)
    assert cut.status_code == 200
    items = client.http.get(f"/v1/conversations/{conversation}/items").json()["data"]
    said = items[0]["tool_calls"][0]["function"]["arguments"]
    assert said and not said.endswith("}")
    client.assert_goes_on(conversation)


@pytest.mark.parametrize("streams", [True, False])
def test_responses_go_on_after_a_function_call_that_was_cut_off(client: Client, streams: bool) -> None:
    conversation = client.conversation()
    tool = {"type": "function", **LOOK["function"]}
    cut = client.respond(
        conversation=conversation, input=[USER], tools=[tool], max_output_tokens=2, stream=streams, truncation="auto"
    )
    assert cut.status_code == 200
    items = client.http.get(f"/v1/conversations/{conversation}/items").json()["data"]
    assert (items[0]["type"], items[0]["status"]) == ("function_call", "incomplete")
    client.assert_goes_on(conversation)


CALL = {"id": "call_1", "type": "function", "function": {"name": "look_up", "arguments": "{}"}}


def call(**changes: Any) -> dict[str, Any]:
    """A message of the assistant with one tool call."""
    return {"role": "assistant", "content": [], "tool_calls": [{**CALL, **changes}]}


def call_with(arguments: Any) -> dict[str, Any]:
    return call(function={"name": "look_up", "arguments": arguments})


TOOL = {"role": "tool", "content": "42"}
MESSAGES = {
    "arguments empty": [USER, call_with(""), {**TOOL, "tool_call_id": "call_1"}],
    "arguments a list": [USER, call_with("[1]"), {**TOOL, "tool_call_id": "call_1"}],
    "arguments null": [USER, call_with("null"), {**TOOL, "tool_call_id": "call_1"}],
    "arguments cut off, answered": [USER, call_with('{"q": "the'), {**TOOL, "tool_call_id": "call_1"}],
    "arguments no text": [USER, call_with(None), call_with({"q": "x"})],
    "a call without an id": [USER, {**call(), "tool_calls": [{"function": CALL["function"]}]}, TOOL],
    "a call of nothing": [USER, {**call(), "tool_calls": [{}]}],
    "a custom call": [USER, call(type="custom", custom={"name": "shell", "input": "ls"}), TOOL],
    "a call without its output": [USER, call(), USER],
    "an output without its call": [USER, {**TOOL, "tool_call_id": "call_0"}],
    "an output without an id": [USER, call(), TOOL],
    "an output alone": [TOOL],
    "an output without content": [USER, call(), {"role": "tool", "content": [], "tool_call_id": "call_1"}],
    "no content": [{"role": role, "content": []} for role in ("system", "developer", "user", "assistant", "tool")],
    "empty content": [{"role": role, "content": ""} for role in ("system", "developer", "user", "assistant", "tool")],
    "a refusal": [USER, {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]}],
    "plain text": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}],
    "an image": [{"role": "user", "content": [{"type": "input_image", "image_url": "data:image/png;base64,AA=="}]}],
    "an assistant first": [{"role": "assistant", "content": "How can I help?"}],
    "calls of responses": [
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": '{"q'},
        {"type": "function_call", "call_id": "d", "name": "f", "arguments": "[1]"},
        {"type": "function_call_output", "call_id": "d", "output": []},
        {"type": "function_call_output", "call_id": "e", "output": "?"},
        {"type": "reasoning", "summary": []},
        {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "hm"}]},
    ],
}


@pytest.mark.parametrize("items", MESSAGES.values(), ids=MESSAGES.keys())
def test_what_was_accepted_goes_on(client: Client, items: list[dict[str, Any]]) -> None:
    client.assert_goes_on(client.conversation(*items))


OLDER = {
    "a file": NewItem({"content": [{"type": "input_file", "filename": "report.pdf", "file_id": "f"}]}, role="user"),
    "an image by its id": NewItem({"content": [{"type": "input_image", "file_id": "f"}]}, role="user"),
    "a part of another type": NewItem({"content": [{"type": "input_audio_clip", "clip": 1}]}, role="user"),
    "a text that is none": NewItem({"content": [{"type": "input_text", "text": None}]}, role="user"),
    "a function": NewItem({"content": [{"type": "input_text", "text": "42"}]}, role="function"),
    "no payload": NewItem({}, role="user"),
    "an item of another type": NewItem({"action": {"type": "click"}}, type="computer_call"),
    "a call without arguments": NewItem({"call_id": "c", "name": "f"}, type="function_call"),
    "calls that are none": NewItem({"content": [], "tool_calls": ["?", {"id": None}, 7]}, role="assistant"),
}


@pytest.mark.parametrize("item", OLDER.values(), ids=OLDER.keys())
def test_what_was_stored_once_goes_on(client: Client, item: NewItem) -> None:
    conversation = client.conversation(USER)
    client.append(conversation, item)
    client.assert_goes_on(conversation)


def test_the_model_is_told_of_what_it_cannot_be_shown(client: Client) -> None:
    conversation = client.conversation(USER)
    client.append(conversation, OLDER["a file"])
    client.chat(conversation)
    assert "[A file named 'report.pdf' that cannot be shown here.]" in client.model.prompts[-1]
