"""Chat templates that allow less than OpenAI's API does get what they allow, with every word in it."""

from typing import Any

import pytest
from vllm.exceptions import VLLMClientError

from tests.vllm_reader import Reader

pytestmark = pytest.mark.filterwarnings("ignore:max_tokens is deprecated:DeprecationWarning")  # vLLM reads it itself

EACH = "{% for message in messages %}<{{ message.role }}>{{ message.content }}{% endfor %}"
SYSTEM_FIRST = (
    "{% for message in messages %}"
    "{% if message.role == 'system' and not loop.first %}"
    "{{ raise_exception('System message must be at the beginning.') }}{% endif %}"
    "<{{ message.role }}>{{ message.content }}{% endfor %}"
)
ONE_SYSTEM_PRINTED = (
    "{% if messages[0].role == 'system' %}<system>{{ messages[0].content }}{% endif %}"
    "{% for message in messages %}{% if message.role in ['user', 'assistant', 'tool'] %}"
    "<{{ message.role }}>{{ message.content }}{% endif %}{% endfor %}"
)
IN_TURNS = (
    "{% if messages[0].role == 'system' %}<system>{{ messages[0].content }}{% set said = messages[1:] %}"
    "{% else %}{% set said = messages %}{% endif %}{% for message in said %}"
    "{% if (message.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "<{{ message.role }}>{{ message.content }}{% endfor %}"
)
NO_SYSTEM = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for message in messages %}"
    "{% if (message.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Roles alternate') }}{% endif %}"
    "<{{ message.role }}>{{ message.content }}{% endfor %}"
)
ONE_CALL = (
    "{% for message in messages %}{% if message.tool_calls and message.tool_calls | length != 1 %}"
    "{{ raise_exception('This model only supports single tool-calls at once!') }}{% endif %}"
    "<{{ message.role }}>{{ message.content }}"
    "{% for call in message.tool_calls or [] %}{{ call.function }}{% endfor %}{% endfor %}"
)
INSTRUCTED = [("system", "be brief"), ("developer", "be kind"), ("user", "hi"), ("system", "be quick")]
CALLS = [{"id": id_, "type": "function", "function": {"name": "add", "arguments": '{"n":1}'}} for id_ in ("a", "b")]


def said(*messages: tuple[str, str]) -> list[dict[str, Any]]:
    return [{"role": role, "content": content} for role, content in messages]


async def read(template: str, messages: list[dict[str, Any]], **more: Any) -> str:
    text = await Reader(template).read({"model": "guide", "messages": messages, **more})
    return text.removeprefix("<|begin|>")


@pytest.mark.parametrize("template", [SYSTEM_FIRST, ONE_SYSTEM_PRINTED])
async def test_instructions_become_one_message_where_the_template_takes_one(template: str) -> None:
    read_as = await read(template, said(("system", "be brief"), ("system", "be kind"), ("user", "hi")))
    assert read_as == "<system>be brief\n\nbe kind<user>hi"


@pytest.mark.parametrize("template", [SYSTEM_FIRST, ONE_SYSTEM_PRINTED, IN_TURNS, NO_SYSTEM])
async def test_no_instruction_is_lost(template: str) -> None:
    text = await read(template, said(*INSTRUCTED))
    assert [content for _, content in INSTRUCTED if content not in text] == []


async def test_a_template_that_prints_every_message_gets_them_as_they_are() -> None:
    messages = said(("system", "be brief"), ("system", "be kind"), ("user", "hi"), ("user", "there"))
    assert await read(EACH, messages) == "<system>be brief<system>be kind<user>hi<user>there"


async def test_a_turn_without_an_answer_does_not_end_a_conversation_of_turns() -> None:
    messages = said(("system", "be kind"), ("user", "hi"), ("user", "are you there?"))
    assert await read(IN_TURNS, messages) == "<system>be kind<user>hi\n\nare you there?"


async def test_an_assistant_may_begin_a_conversation_of_turns() -> None:
    messages = said(("assistant", "How can I help?"), ("user", "hi"))
    assert await read(NO_SYSTEM, messages) == "<user>…<assistant>How can I help?<user>hi"


@pytest.mark.parametrize("template", [IN_TURNS, ONE_CALL])
async def test_tools_are_told_of_in_words_where_the_template_refuses_them(template: str) -> None:
    asked: list[dict[str, Any]] = [
        *said(("user", "add")),
        {"role": "assistant", "content": None, "tool_calls": CALLS},
        {"role": "tool", "tool_call_id": "a", "content": "41"},
        {"role": "tool", "tool_call_id": "b", "content": "42"},
    ]
    text = await read(template, asked)
    assert text.count('[Called add({"n":1})]') == 2
    assert "41" in text and "42" in text


async def test_what_no_form_helps_against_is_the_templates_own_refusal() -> None:
    with pytest.raises(VLLMClientError, match="never"):
        await read("{{ raise_exception('never') }}", said(("user", "hi")))


IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}


async def test_an_image_of_before_is_a_note_to_a_model_of_texts() -> None:
    text = await read(EACH, [{"role": "user", "content": [IMAGE]}, *said(("user", "hi"))])
    assert text == "<user>[image: this model reads only text]<user>hi"


async def test_an_image_is_refused_by_a_model_of_texts() -> None:
    with pytest.raises((VLLMClientError, ValueError), match="is not a multimodal model"):
        await read(EACH, [*said(("user", "hi")), {"role": "user", "content": [IMAGE]}])


async def test_trimming_leaves_room_for_tools_and_the_answer() -> None:
    tool = {"type": "function", "function": {"name": "f", "description": "word " * 100}}
    body = {"model": "guide", "messages": said(*[("user", "word " * 50)] * 60), "tools": [tool], "max_tokens": 250}
    text = await Reader("{{ tools | tojson }}" + EACH).read(body, trim=True)  # vLLM refuses what does not fit
    assert 0 < text.count("<user>") < 60
