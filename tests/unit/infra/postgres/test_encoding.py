import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployments.errors import BadRequest
from deployments.infra.postgres.encoding import clean, encode
from tests.budgets import examples

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner) | st.dictionaries(st.text("a\0\\u0"), inner),
)


def without_nul(value: object) -> object:
    match value:
        case str():
            return value.replace("\0", "\ufffd")
        case list():
            return [without_nul(part) for part in value]
        case dict():
            return {without_nul(name): without_nul(part) for name, part in value.items()}
        case _:
            return value


@settings(deadline=None, max_examples=examples(50))
@given(json_values)
def test_only_nul_is_changed(value: object) -> None:
    assert orjson.loads(encode(value)) == without_nul(value)


@settings(deadline=None, max_examples=examples(50))
@given(st.text("\\u0\0", max_size=30))
def test_backslashes_before_nul_are_counted(text: str) -> None:
    assert orjson.loads(encode(text)) == text.replace("\0", "\ufffd")


@pytest.mark.parametrize("value", ["\ud800", {1, 2}, 2**70, object()], ids=["surrogate", "set", "huge", "object"])
def test_what_is_not_json_is_a_bad_request(value: object) -> None:
    with pytest.raises(BadRequest):
        encode({"content": value})


def test_nesting_without_end_is_a_bad_request() -> None:
    deep: list[object] = []
    for _ in range(5000):
        deep = [deep]
    with pytest.raises(BadRequest):
        encode(deep)


def test_text_of_a_column_is_cleaned_or_refused() -> None:
    assert clean("a\0b") == "a\ufffdb"
    with pytest.raises(BadRequest):
        clean("\ud800")
