"""The turns of a conversation prefer one replica, other conversations others, and none is overloaded by it."""

from collections import Counter
from typing import Any

import pytest

from deployments.models.affinity import MAX_HEAD_CHARS, preferred, prompt_head

REPLICAS = {name: name for name in "abcd"}
IDLE = dict.fromkeys(REPLICAS, 0)


def chat(*texts: str, **more: Any) -> dict[str, Any]:
    roles = ("system", "user", "assistant")
    messages = [{"role": roles[at] if at < 2 else roles[1 + at % 2], "content": text} for at, text in enumerate(texts)]
    return {"messages": messages, **more}


def test_turns_of_a_conversation_have_a_head_in_common() -> None:
    head = prompt_head(chat("Be brief.", "Who are you?"))
    assert head == prompt_head(chat("Be brief.", "Who are you?", "A guide.", "And what do you know?"))
    parts = {"role": "user", "content": [{"type": "text", "text": "Who are you?"}, {"type": "image_url"}]}
    assert head == prompt_head({"messages": [{"role": "system", "content": "Be brief."}, parts]})


@pytest.mark.parametrize(
    "other",
    [
        chat("Be brief.", "Who is she?"),
        chat("Be long.", "Who are you?"),
        chat("Be brief.Who are you?", ""),
        chat("Be brief.", "Who are you?", cache_salt="another tenant's"),
    ],
)
def test_what_differs_there_has_another_head(other: dict[str, Any]) -> None:
    assert prompt_head(other) != prompt_head(chat("Be brief.", "Who are you?"))


def test_conversations_with_a_long_beginning_in_common_are_spread_as_well() -> None:
    system = "You are an agent. " * 1_000
    assert prompt_head(chat(system, "Who are you?")) == prompt_head(chat(system, "Who are you?", "A guide.", "Why?"))
    assert len({prompt_head(chat(system, str(at))) for at in range(100)}) == 100


def test_a_completion_goes_by_the_beginning_of_its_prompt() -> None:
    beginning = "x" * MAX_HEAD_CHARS
    assert prompt_head({"prompt": f"{beginning}a"}) == prompt_head({"prompt": f"{beginning}b"})
    assert prompt_head({"prompt": "a"}) != prompt_head({"prompt": "b"})


@pytest.mark.parametrize(
    "request_",
    [{}, {"prompt": [1, 2]}, {"prompt": ""}, {"messages": []}, {"messages": [{"role": "user", "content": None}]}],
)
def test_what_has_no_text_has_no_head(request_: dict[str, Any]) -> None:
    assert prompt_head(request_) == b""


def test_text_that_is_no_unicode_is_a_text_like_any_other() -> None:
    assert prompt_head(chat("\ud800", "hi")) not in (b"", prompt_head(chat("", "hi")))


def test_heads_are_spread_over_the_replicas() -> None:
    shares = Counter(preferred(prompt_head(chat("", str(at))), REPLICAS, IDLE) for at in range(2_000))
    assert set(shares) == set(REPLICAS) and max(shares.values()) < 1.25 * min(shares.values())


def test_a_replica_that_comes_takes_its_share_and_moves_nothing_else() -> None:
    heads = [prompt_head(chat("", str(at))) for at in range(2_000)]
    before = [preferred(head, REPLICAS, IDLE) for head in heads]
    after = [preferred(head, {**REPLICAS, "e": "e"}, {**IDLE, "e": 0}) for head in heads]
    moved = [new for old, new in zip(before, after, strict=True) if old != new]
    assert set(moved) == {"e"} and 0.15 < len(moved) / len(heads) < 0.25


def test_a_busy_replica_is_passed_over_for_always_the_same_one() -> None:
    head = prompt_head(chat("", "a question that everybody has"))
    loads, first = dict(IDLE), str(preferred(head, REPLICAS, IDLE))
    for _ in range(100):
        loads[str(preferred(head, REPLICAS, loads))] += 1
    assert loads[first] == max(loads.values()) <= 1.25 * 101 / 4 + 5
    second = preferred(head, REPLICAS, {**IDLE, first: 30})
    assert second != first and second == preferred(head, REPLICAS, {**IDLE, first: 40})


def test_with_nobody_free_there_is_no_preference() -> None:
    assert preferred(b"head", {}, {}) is None
