"""Whatever a model writes is inert in a real browser: nothing runs, nothing is fetched, the page stays quick."""

import time
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.e2e.chromium import DESKTOP, visit
from tests.ui.process import page_process
from tests.ui.stand_in import Behaviour, StandIn

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def api() -> StandIn:
    """One service for all these answers."""
    return StandIn()


@pytest.fixture(scope="module")
def address(api: StandIn, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One page for all of them."""
    with api.served() as api_url, page_process(api_url, tmp_path_factory.mktemp("page")) as address:
        yield address


END = "The end of the answer."
FAR = "https://far.example"
RUNS = "window.hacked=1;alert(1)"

ANSWERS = {
    "scripts": f"<script>{RUNS}</script>\n\n<SCRIPT SRC={FAR}/x.js></SCRIPT>\n\nin a line <script>{RUNS}</script> too",
    "event handlers": f'<img src=x onerror="{RUNS}"> <svg onload="{RUNS}"> <details open ontoggle="{RUNS}">\n\n'
    f'<body onload="{RUNS}"><input autofocus onfocus="{RUNS}"><video><source onerror="{RUNS}"></video>',
    "links": f"[a](javascript:{RUNS}) [b](JaVaScRiPt:{RUNS}) [c](java&#115;cript:{RUNS}) [d](data:text/html,"
    f"<script>{RUNS}</script>) [e](vbscript:x) <javascript:{RUNS}> [f]( javascript:{RUNS}) [g][1]\n\n"
    f"[1]: javascript:{RUNS}",
    "bare links and notes": f'javascript:{RUNS} data:text/html,x https://e.example/"onclick={RUNS} [^1] [^"on=x]\n\n'
    f'[^1]: <img src=x onerror={RUNS}> javascript:{RUNS}\n[^"on=x]: https://e.example\n\n- [x] <input autofocus>',
    "remote images": f"![a]({FAR}/a.png) ![b][1] <img src={FAR}/c.png srcset={FAR}/d.png> ![e](//far.example/e.png)\n\n"
    f'<picture><source srcset={FAR}/f.png></picture><link rel=prefetch href={FAR}/g>\n\n[1]: {FAR}/b.png "title"',
    "style": f"<style>@import url({FAR}/a.css); body {{ display: none }}</style>\n\n"
    f'<div style="position:fixed;inset:0;background:url({FAR}/b.png)">over all</div>',
    "svg": f'<svg><use href="{FAR}/a.svg#x"/><image href="{FAR}/b.png"/><animate onbegin="{RUNS}"/>'
    f"<foreignObject><iframe srcdoc='<script>{RUNS}</script>'></iframe></foreignObject></svg>",
    "mathml": f'<math><mtext><mglyph><style><img src=x onerror="{RUNS}"></style></mglyph></mtext>'
    f'<maction actiontype="statusline" href="javascript:{RUNS}">x</maction></math>',
    "formulas": f"$\\href{{javascript:{RUNS}}}{{x}}$ $\\includegraphics{{{FAR}/a.png}}$ $\\url{{{FAR}}}$ "
    f"$\\htmlStyle{{background:url({FAR}/b.png)}}{{x}}$ $\\rule{{99999em}}{{99999em}}$\n\n"
    "$$\\def\\a{\\a\\a}\\a$$",
    "deep quotes": "> " * 4_000 + "deep",
    "deep lists": "\n".join("  " * depth + "- item" for depth in range(400)),
    "many brackets": "[" * 20_000 + "](" * 5_000,
    "emphasis": "*a **b " * 10_000,
    "a giant line": "long" * 20_000,
    "a giant word in code": f"```python\nx = '{'y' * 60_000}'\n```",
    "a giant table": "| a | b |\n|---|---|\n" + "".join(f"| {row} | b |\n" for row in range(5_000)),
    "wide tables": ("|" + "a|" * 300 + "\n|" + "-|" * 300 + "\n" + "|x\n" * 200),
}


def is_quick(page: Page) -> None:
    """Fail unless a click and a key are answered soon."""
    began = time.perf_counter()
    page.get_by_label("Switch between light and dark").click()
    page.locator(".composer textarea").fill("still here")
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    assert time.perf_counter() - began < 2


def open_stored(page: Page, api: StandIn, answer: str) -> None:
    conversation_id = api.add_conversation("Stored")
    api.add_message(conversation_id, "user", "Say it")
    api.add_message(conversation_id, "assistant", f"{answer}\n\n{END}")
    page.goto(page.url + f"c/{conversation_id}")
    expect(page.locator(".answer")).to_contain_text(END)
    expect(page.locator(".markdown[aria-busy=true]")).to_have_count(0)


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_can_do_nothing(browser: Browser, address: str, api: StandIn, name: str) -> None:
    """`visit` fails on every request that leaves the browser for elsewhere."""
    dialogs: list[str] = []
    with visit(browser, address, **DESKTOP) as page:
        page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss())[1])
        open_stored(page, api, ANSWERS[name])
        is_quick(page)
        for link in page.locator(".markdown a").all():
            assert (link.get_attribute("href") or "").startswith(("https://", "http://", "mailto:"))
        assert (
            not page.locator(".markdown").locator("script, style, iframe, img, svg, form, input, video, object").count()
        )
        assert page.evaluate("window.hacked") is None and not dialogs
        assert page.evaluate("document.documentElement.scrollWidth") == 1280
        expect(page.locator(".sidebar")).to_be_visible()


def test_a_hostile_answer_is_inert_while_it_comes(browser: Browser, address: str, api: StandIn) -> None:
    """An unclosed fence and tags in pieces: each state in between is shown, and is text."""
    opened = f"```html\n<script> {RUNS} </script> <img src={FAR}/x.png>"
    api.behaviour = Behaviour(answer=f"Look: <img src=x onerror={RUNS}>\n\n{opened}", token_delay_s=0.12)
    with visit(browser, address, **DESKTOP) as page:
        page.wait_for_selector(".status", state="hidden")
        page.locator(".prompt").first.click()
        expect(page.locator(".answer:not(.live) .code")).to_contain_text(f"{FAR}/x.png")
        assert page.evaluate("window.hacked") is None
        assert page.locator(".markdown img, .markdown script").count() == 0


def test_a_giant_table_streams_without_a_standstill(browser: Browser, address: str, api: StandIn) -> None:
    api.behaviour = Behaviour(answer=ANSWERS["a giant table"][:20_000] + "\n\n" + END)
    with visit(browser, address, **DESKTOP) as page:
        page.wait_for_selector(".status", state="hidden")
        page.locator(".prompt").first.click()
        expect(page.locator(".answer")).to_contain_text("| 100 |", timeout=20_000)
        is_quick(page)
        expect(page.locator(".answer:not(.live)")).to_contain_text(END, timeout=30_000)
        is_quick(page)


def test_what_turns_code_around_is_seen(browser: Browser, address: str, api: StandIn) -> None:
    """CVE-2021-42574: code that reads otherwise than it runs. What is copied is without the characters."""
    code = 'if level != "user\u202e \u2066// only admins\u2069 \u2066":'
    with visit(browser, address, **DESKTOP, permissions=["clipboard-read", "clipboard-write"]) as page:
        open_stored(page, api, f"```js\n{code}\n```\n\n[apple](https://\u0430pple.com)")
        shown = page.locator(".turning").evaluate_all(
            "(all) => all.map((one) => getComputedStyle(one, '::before').content)"
        )
        assert shown == ['"U+202E"', '"U+2066"', '"U+2069"', '"U+2066"']
        page.locator(".code-copy").click()
        page.wait_for_timeout(300)
        assert page.evaluate("navigator.clipboard.readText()") == 'if level != "user // only admins ":\n'
        # The address tells what its first letter hides: it is no Latin a.
        assert page.locator(".markdown a").get_attribute("href") == "https://xn--pple-43d.com"
