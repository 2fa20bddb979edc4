"""Each block of Markdown has the direction of its own words."""

import pytest

from ui.markdown.direction import direction_of, isolated
from ui.markdown.render import render

ARABIC, HEBREW = "مرحبا بالعالم", "שלום עולם"


@pytest.mark.parametrize(
    ("markdown", "html"),
    [
        (ARABIC, f'<p dir="auto">{ARABIC}</p>'),
        (f"## {HEBREW}", f'<h2 dir="auto">{HEBREW}</h2>'),
        (f"1. {ARABIC}\n2. more", f'<ol dir="rtl">\n<li>{ARABIC}</li>'),
        (f"- {ARABIC}\n  - English", '<ul dir="ltr">\n<li>English</li>'),
        (f"- English\n  - {ARABIC}", '<ul dir="rtl">'),
        (f"- `code` {HEBREW}", f'<ul dir="rtl">\n<li><code dir="ltr">code</code> {HEBREW}</li>'),
        (f"> {ARABIC}", '<blockquote dir="rtl">\n<p dir="auto">'),
        (f"> - {ARABIC}", '<blockquote dir="rtl">\n<ul dir="rtl">'),
        ("- 1\n- 2", "<ul>"),
        (f"| {HEBREW} | b |\n|---|---|\n| c | d |", '<table dir="rtl">'),
        (f"| {HEBREW} | b |\n|---|---|\n| c | d |", f'<th dir="auto">{HEBREW}</th>'),
        (f"```\n{ARABIC}\n```", '<div class="code" dir="ltr">'),
    ],
)
def test_blocks_have_their_direction(markdown: str, html: str) -> None:
    assert html in render(markdown)


def test_a_title_of_the_other_direction_does_not_turn_its_sentence() -> None:
    assert direction_of("12 – שלום a") == "rtl" and direction_of("«a שלום") == "ltr" and direction_of("12?") == ""
    assert isolated("Rivers") == "Rivers" and isolated(HEBREW) == f"\u2068{HEBREW}\u2069"
