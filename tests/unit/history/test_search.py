"""The piece of text that shows why a conversation was found."""

import pytest

from deployments.history.search import LENGTH, snippet


def marked(text: str, typed: str) -> str:
    return "".join(f"[{piece.text}]" if piece.is_match else piece.text for piece in snippet(text, typed))


@pytest.mark.parametrize(
    ("text", "typed", "expected"),
    [
        ("The Rhine flows north", "rhine", "The [Rhine] flows north"),
        ("The Rhine flows north", "NORTH rhi", "The [Rhine] flows [north]"),
        ("The Rhine flows north", "rhi ", "The Rhine flows north"),
        ("我喜欢学习中文", "学习", "我喜欢[学习]中文"),
        ("foo-bar baz", "foo-bar", "[foo]-[bar] baz"),
        ("Ｆｕｌｌ width", "full", "[Ｆｕｌｌ] width"),
        ("<b>bold</b>", "bold", "<b>[bold]</b>"),
        ("", "x", ""),
        ("nothing here", "...", "nothing here"),
    ],
)
def test_matches_are_marked_and_the_text_is_left_as_it_is(text: str, typed: str, expected: str) -> None:
    assert marked(text, typed) == expected


def test_a_long_text_is_cut_around_the_first_match() -> None:
    text = "word " * 1000 + "needle " + "word " * 1000

    shown = marked(text, "needle")

    assert shown.startswith("…word") and shown.endswith("…")
    assert "[needle]" in shown
    assert len(shown) <= LENGTH + 10
