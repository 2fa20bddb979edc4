"""Long conversations are cut in steps, so that the head of the prompt stays the same for many turns."""

import itertools
from collections.abc import Iterator
from typing import Any

from deployments.models.trim import trimmed


def count_words(text: str) -> int:
    return len(text.split())


def conversation(turns: int) -> list[dict[str, Any]]:
    said = [
        {"role": "user" if at % 2 == 0 else "assistant", "content": f"{at} " + "word " * 11} for at in range(2 * turns)
    ]
    return [{"role": "system", "content": "be kind"}, *said, {"role": "user", "content": "and now?"}]


def test_what_fits_stays_as_it_is() -> None:
    messages = conversation(3)
    assert trimmed(messages, 1000, count_words) is messages


def test_the_newest_stay_with_the_system_message_and_start_with_the_user() -> None:
    kept = trimmed(conversation(50), 400, count_words)
    assert kept[0] == {"role": "system", "content": "be kind"}
    assert kept[1]["role"] == "user"
    assert kept[-1] == {"role": "user", "content": "and now?"}
    assert sum(count_words(str(m["content"])) + 8 for m in kept) <= 400


def test_the_head_moves_in_steps() -> None:
    heads = [trimmed(conversation(turns), 400, count_words)[1]["content"] for turns in range(15, 60)]
    moves = sum(before != after for before, after in itertools.pairwise(heads))
    assert 5 <= moves <= 25


def test_one_message_that_is_too_long_is_left_to_the_model() -> None:
    messages = [{"role": "user", "content": "word " * 500}]
    assert trimmed(messages, 100, count_words) == messages


def test_the_head_moves_in_steps_where_the_oldest_are_not_given_at_all() -> None:
    heads = [trimmed(conversation(turns)[-41:], 400, count_words)[0]["content"] for turns in range(100, 160)]
    moves = sum(before != after for before, after in itertools.pairwise(heads))
    assert 5 <= moves <= 30


def test_the_same_question_each_time_moves_in_steps_too() -> None:
    def heads() -> Iterator[str]:
        said: list[dict[str, Any]] = []
        for turn in range(80):
            said.append({"role": "user", "content": "go on"})
            kept = trimmed(said, 400, count_words)
            yield str(kept[1]["content"]) if len(kept) > 1 else ""
            said.append({"role": "assistant", "content": f"{turn} " + "word " * 11})

    moves = sum(before != after for before, after in itertools.pairwise(heads()))
    assert moves <= 40


def test_no_more_is_counted_than_fits() -> None:
    counted: list[int] = []

    def count(text: str) -> int:
        counted.append(count_words(text))
        return counted[-1]

    trimmed(conversation(5000), 400, count)

    assert sum(counted) < 500


def test_the_arguments_of_tool_calls_count() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"text": "' + "word " * 300 + '"}'}}
    messages: list[dict[str, Any]] = [
        {"role": "user", "content": "old"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": "done"},
        {"role": "user", "content": "new"},
    ]
    assert trimmed(messages, 200, count_words) == messages[-1:]
