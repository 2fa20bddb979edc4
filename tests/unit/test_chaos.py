"""What is checked after random faults: each violation is seen."""

from typing import Any

import pytest

from tests.chaos.clients import Tally, Tenant
from tests.chaos.invariants import _check_conversation

TURNS: list[tuple[str, str | None]] = [("one", "ONE"), ("two", None), ("three", "THREE")]
WHOLE = [("user", "one"), ("assistant", "ONE"), ("user", "three"), ("assistant", "THREE")]


@pytest.mark.parametrize(
    ("items", "violation"),
    [
        (WHOLE, ""),
        ([*WHOLE, ("user", "two")], ""),
        (WHOLE[2:], "an answered turn is lost"),
        ([*WHOLE, *WHOLE[:2]], "a turn is there 2 times"),
        ([*WHOLE[:3], ("assistant", "THR")], "the answer of a turn is not the one that was sent"),
        ([*WHOLE[:1], *WHOLE[2:]], "the answer of a turn is not the one that was sent"),
        ([*WHOLE, ("user", "another's")], "1 turns that it did not ask"),
    ],
)
def test_a_conversation_is_compared_with_what_was_answered(items: Any, violation: str) -> None:
    tally = Tally()
    _check_conversation(Tenant("amber", "key"), TURNS, items, tally)
    assert tally.violations == ([f"amber: {violation}"] if violation else [])
