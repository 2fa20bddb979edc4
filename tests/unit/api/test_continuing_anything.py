"""Whatever the API accepts into a conversation, in whatever order, can be continued (hypothesis)."""

import time
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.budgets import examples
from tests.unit.api.test_continuing import LOOK, Client, client, pytestmark

__all__ = ["client", "pytestmark"]  # the fixture, and what vLLM warns of

SOME = settings(
    max_examples=examples(120),
    phases=(Phase.explicit, Phase.generate),
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TEXTS = st.sampled_from(["", " ", "hi", "please look up 'the Rhine'", "\0", "\ud7ff\u2028", "<|end|>", "{{ x }}", "[]"])
IDS = st.sampled_from(["call_1", "call_2", "c", ""])
ARGUMENTS = st.sampled_from(
    ["", "{}", '{"q": "a"}', '{"q": "a', "[1]", "null", "1", '"a"', "{'q': 1}", "nonsense", "\0"]
)
IMAGE = "data:image/png;base64,AA=="
ROLES = st.sampled_from(["user", "assistant", "system", "developer", "tool", "function", "critic"])


def some(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Dictionaries with some of the fields, some of them null or of another type."""
    odd = {
        name: st.one_of(values, values, values, st.sampled_from([None, 7, [], {}])) for name, values in fields.items()
    }
    return st.fixed_dictionaries({}, optional=odd)


def all_of(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(fields)


def parts(text: str) -> st.SearchStrategy[list[dict[str, Any]]]:
    part = st.one_of(
        all_of(type=st.just(text), text=TEXTS),
        all_of(type=st.sampled_from(["input_text", "output_text", "text"]), text=TEXTS),
        all_of(type=st.just("refusal"), refusal=TEXTS),
        all_of(type=st.just("input_image"), image_url=st.sampled_from([IMAGE, None]), file_id=st.none()),
        all_of(type=st.just("image_url"), image_url=st.sampled_from([{"url": IMAGE}, IMAGE, {}])),
        all_of(type=st.just("input_file"), file_id=st.just("f")),
        some(type=TEXTS, text=TEXTS, name=TEXTS),
    )
    return st.lists(part, max_size=2)


def contents(text: str) -> st.SearchStrategy[Any]:
    return st.one_of(TEXTS, parts(text), st.none())


CALLS = st.lists(
    st.one_of(
        all_of(id=IDS, type=st.just("function"), function=all_of(name=st.just("look_up"), arguments=ARGUMENTS)),
        all_of(id=IDS, type=st.just("custom"), custom=all_of(name=st.just("shell"), input=TEXTS)),
        some(id=IDS, type=TEXTS, function=some(name=TEXTS, arguments=ARGUMENTS)),
    ),
    max_size=2,
)
ITEMS = st.one_of(
    all_of(role=ROLES, content=contents("input_text")),
    all_of(role=st.just("assistant"), content=contents("output_text"), tool_calls=CALLS),
    all_of(role=st.just("tool"), content=contents("input_text"), tool_call_id=IDS),
    all_of(type=st.just("function_call"), call_id=IDS, name=st.sampled_from(["f", ""]), arguments=ARGUMENTS),
    all_of(type=st.just("function_call_output"), call_id=IDS, output=contents("input_text")),
    all_of(type=st.just("custom_tool_call"), call_id=IDS, name=st.sampled_from(["sh", ""]), input=TEXTS),
    all_of(type=st.just("custom_tool_call_output"), call_id=IDS, output=contents("input_text")),
    all_of(type=st.just("reasoning"), summary=st.just([]), content=st.sampled_from([None, []])),
    some(type=st.sampled_from(["message", "function_call", "item_reference"]), role=ROLES, content=TEXTS, name=TEXTS),
)
MESSAGES = st.one_of(
    all_of(role=ROLES, content=contents("text")),
    all_of(role=st.just("assistant"), content=contents("text"), tool_calls=CALLS),
    all_of(role=st.sampled_from(["tool", "function"]), content=contents("text"), tool_call_id=IDS),
    all_of(role=st.just("user"), content=st.just("please look up 'the Rhine'")),
)
LIMITS = st.sampled_from([{}, {"max_tokens": 1}, {"max_tokens": 2}, {"stop": ["Rhine"]}])
STEPS = st.one_of(
    st.tuples(st.just("items"), st.lists(ITEMS, min_size=1, max_size=3), st.just({})),
    st.tuples(st.just("chat"), st.lists(MESSAGES, min_size=1, max_size=3), LIMITS),
    st.tuples(st.just("cut"), st.lists(MESSAGES, min_size=1, max_size=2), LIMITS),
    st.tuples(
        st.just("respond"), st.lists(ITEMS, min_size=1, max_size=3), st.sampled_from([{}, {"truncation": "auto"}])
    ),
)


@SOME
@given(steps=st.lists(STEPS, min_size=1, max_size=4))
def test_whatever_was_accepted_goes_on(client: Client, steps: list[tuple[str, list[Any], dict[str, Any]]]) -> None:
    conversation = client.conversation()
    for kind, sent, options in steps:
        status = DOORS[kind](client, conversation, sent, options)
        assert status in (200, 400, 409), (kind, sent, status)
    until = time.monotonic() + 10
    while client.service.writer.pending and time.monotonic() < until:
        time.sleep(0.01)
    client.assert_goes_on(conversation)


def _items(client: Client, conversation: str, sent: list[Any], options: dict[str, Any]) -> int:
    return client.http.post(f"/v1/conversations/{conversation}/items", json={"items": sent}).status_code


def _chat(client: Client, conversation: str, sent: list[Any], options: dict[str, Any]) -> int:
    body = {"conversation": conversation, "messages": sent, "tools": [LOOK], **options}
    return client.http.post("/v1/chat/completions", json=body).status_code


def _cut(client: Client, conversation: str, sent: list[Any], options: dict[str, Any]) -> int:
    """Stream a chat and leave after the first lines."""
    body = {"conversation": conversation, "messages": sent, "tools": [LOOK], "stream": True, "model": "slow", **options}
    with client.http.stream("POST", "/v1/chat/completions", json=body) as answer:
        if answer.status_code == 200:
            lines = answer.iter_lines()
            for _ in range(5):
                next(lines, None)
        return answer.status_code


def _respond(client: Client, conversation: str, sent: list[Any], options: dict[str, Any]) -> int:
    tool = {"type": "function", **LOOK["function"]}
    return client.respond(conversation=conversation, input=sent, tools=[tool], **options).status_code


DOORS: dict[str, Callable[[Client, str, list[Any], dict[str, Any]], int]] = {
    "items": _items,
    "chat": _chat,
    "cut": _cut,
    "respond": _respond,
}
