"""The input of a custom tool, read out of JSON that comes in pieces."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.responses.custom_input import CustomInput


def fed(*pieces: str) -> tuple[str, str]:
    """The input as it was streamed, and as it stands at the end."""
    custom = CustomInput()
    said = [custom.add(piece) for piece in pieces]
    said.append(custom.close())
    return "".join(said), custom.text


@given(st.text(), st.integers(1, 7), st.booleans())
def test_every_text_comes_through_whatever_the_pieces(text: str, size: int, ascii_only: bool) -> None:
    arguments = json.dumps({"input": text}, ensure_ascii=ascii_only)
    pieces = [arguments[at : at + size] for at in range(0, len(arguments), size)]
    expected = text.encode(errors="replace").decode()
    assert fed(*pieces) == (expected, expected)


def test_it_streams() -> None:
    custom = CustomInput()
    assert [custom.add(piece) for piece in ('{"in', 'put": "a', "b\\", 'nc", ', '"}')] == ["", "a", "b", "\nc", ""]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ("ls -l", "ls -l"),
        ('{"command": "ls"}', '{"command": "ls"}'),
        ('{"input": ["ls"]}', '{"input": ["ls"]}'),
        ('{"input": "line\nline"}', "line\nline"),
        ('{"input": "cut off', "cut off"),
        ('{"input": "a\\ud83d"}', "a?"),
        ('{"input": "\\udc00"}', "?"),
        ("", ""),
        ("[" * 100_000, "[" * 100_000),
    ],
)
def test_what_is_no_such_json_is_the_input_itself(arguments: str, text: str) -> None:
    assert fed(arguments) == (text, text)
    assert fed(*arguments[:200]) == (fed(arguments[:200])[0],) * 2
