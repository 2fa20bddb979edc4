"""From a message request to a chat completion request: every block, every parameter."""

from typing import Any, get_type_hints

import anthropic.types.beta as beta
import pytest
from anthropic.types import message_create_params

from deployments.errors import BadRequest
from deployments.messages.request import FIELDS, HINTS, LEFT_OUT, REFUSED, read_call

SDK: Any = message_create_params


def chat(*content: Any, role: str = "user", **more: Any) -> dict[str, Any]:
    return read_call({"max_tokens": 10, "messages": [{"role": role, "content": list(content)}], **more}).chat


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def test_every_parameter_of_anthropics_is_honored_a_hint_left_out_or_refused() -> None:
    own = set(get_type_hints(SDK.MessageCreateParamsBase)) | set(
        get_type_hints(beta.message_create_params.MessageCreateParamsBase)
    )
    assert own - FIELDS - HINTS.keys() - LEFT_OUT - REFUSED.keys() == set()


def test_results_of_tools_are_messages_of_their_own_and_their_images_follow() -> None:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA=="}}
    found = chat(
        {"type": "tool_result", "tool_use_id": "t1", "content": "one"},
        {"type": "tool_result", "tool_use_id": "t2", "content": [text("two"), image], "is_error": True},
        text("and now?"),
    )["messages"]
    assert found[0] == {"role": "tool", "tool_call_id": "t1", "content": "one"}
    assert found[1] == {"role": "tool", "tool_call_id": "t2", "content": "Error: two"}
    assert [part["type"] for part in found[2]["content"]] == ["image_url", "text"]
    assert found[2]["content"][0]["image_url"]["url"] == "data:image/png;base64,AA=="
    assert len(found) == 3


def test_what_was_said_before_a_result_stays_before_it() -> None:
    found = chat(text("first"), {"type": "tool_result", "tool_use_id": "t1"}, text("last"))["messages"]
    assert [message["role"] for message in found] == ["user", "tool", "user"]


def test_calls_and_thinking_of_the_assistant() -> None:
    found = chat(
        {"type": "thinking", "thinking": "hm", "signature": "s"},
        {"type": "redacted_thinking", "data": "xx"},
        text("I look."),
        {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": [1]}},
        role="assistant",
    )["messages"]
    assert found == [
        {
            "role": "assistant",
            "content": "I look.",
            "reasoning": "hm",
            "tool_calls": [{"id": "t1", "type": "function", "function": {"name": "f", "arguments": '{"a":[1]}'}}],
        }
    ]


def test_a_message_of_the_assistant_at_the_end_is_gone_on_with() -> None:
    assert chat(text("The answer is ("), role="assistant")["continue_final_message"] is True
    assert "continue_final_message" not in chat(text("Hi"))


def test_instructions_of_both_kinds_and_no_attribution() -> None:
    attribution = text("x-anthropic-billing-header: cc_version=2; cch=123")
    said = [{"role": "user", "content": "a"}, {"role": "system", "content": [text("Now be kind.")]}]
    found = read_call({"max_tokens": 9, "system": [attribution, text("Be brief."), text("Be true.")], "messages": said})
    assert found.chat["messages"] == [
        {"role": "system", "content": "Be brief.\n\nBe true."},
        {"role": "user", "content": "a"},
        {"role": "system", "content": "Now be kind."},
    ]
    assert read_call({"max_tokens": 9, "system": [attribution], "messages": said}).chat["messages"][0]["role"] == "user"


def test_documents_of_text_are_read() -> None:
    plain = {"type": "document", "title": "T", "source": {"type": "text", "media_type": "text/plain", "data": "words"}}
    blocks = {"type": "document", "source": {"type": "content", "content": [text("more")]}}
    found = {"type": "search_result", "title": "R", "source": "https://x", "content": [text("body")]}
    (message,) = chat(plain, blocks, found)["messages"]
    assert [part["text"] for part in message["content"]] == ["T", "words", "more", "R\nhttps://x", "body"]


def test_thinking_is_told_to_the_chat_template() -> None:
    def kwargs(**thinking: Any) -> Any:
        return chat(text("a"), thinking=thinking).get("chat_template_kwargs")

    assert kwargs(type="enabled", budget_tokens=1024) == {"enable_thinking": True, "thinking": True}
    assert kwargs(type="disabled") == {"enable_thinking": False, "thinking": False}
    assert kwargs(type="adaptive") is None


def test_an_answer_is_asked_to_be_no_longer_than_the_window() -> None:
    wanted = read_call({"max_tokens": 32_000, "messages": [{"role": "user", "content": "a"}]})
    assert wanted.within(4096)["max_completion_tokens"] == 4096
    assert wanted.within(None)["max_completion_tokens"] == 32_000


@pytest.mark.parametrize(
    ("block", "role", "where"),
    [
        ({"type": "image", "source": {"type": "base64", "media_type": "image/tiff", "data": ""}}, "user", "media_type"),
        ({"type": "image"}, "user", "source"),
        ({"type": "server_tool_use"}, "assistant", "type"),
        ({"type": 7}, "user", "type"),
        ({}, "user", "type"),
        ({"type": "text"}, "user", "text"),
        ({"type": "tool_use", "id": "a", "name": "f", "input": []}, "assistant", "input"),
        ({"type": "tool_use", "id": "a", "name": "", "input": {}}, "assistant", "name"),
        ({"type": "tool_result", "tool_use_id": "a", "content": 7}, "user", "content"),
        ({"type": "tool_result", "tool_use_id": "a", "content": [7]}, "user", "content[0]"),
        ({"type": "tool_result", "content": ""}, "user", "tool_use_id"),
        ({"type": "image", "source": {}}, "system", "type"),
    ],
    ids=str,
)
def test_a_block_that_cannot_be_read_is_named(block: dict[str, Any], role: str, where: str) -> None:
    with pytest.raises(BadRequest) as refused:
        chat(block, role=role)
    assert (refused.value.param or "").startswith("messages[0].content[0]")
    assert (refused.value.param or "").endswith(where)


@pytest.mark.parametrize(
    "tool",
    [
        {"name": "f"},
        {"name": "a b", "input_schema": {}},
        {"type": "functon", "name": "f", "input_schema": {}},
        {"name": "f", "input_schema": {}, "description": 7},
        {"type": 7},
    ],
    ids=str,
)
def test_a_tool_that_is_none_is_named(tool: dict[str, Any]) -> None:
    with pytest.raises(BadRequest, match=r"tool|type|description|name"):
        chat(text("a"), tools=[tool])
