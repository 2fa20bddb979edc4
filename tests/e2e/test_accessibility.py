"""The page for those who do not see it, or see it otherwise: axe-core over its states, light and dark."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.e2e.chromium import DESKTOP, PHONE, visit
from tests.ui.stand_in import StandIn

pytestmark = pytest.mark.browser

Theme = Literal["light", "dark"]
ANSWER = """# Cache

The cache stands **in front of** the [model](https://example.org), as `X-Cache` tells.

```python
def hello(name: str) -> None:  # a note
```

| Header | Meaning |
|---|---|
| `X-Cache` | where the answer came from |

1. The sum is $\\frac{n(n+1)}{2}$.
2. And ~~not~~ more:

> quoted

$$\\int_0^1 x^2 dx$$

![a picture](https://example.org/x.png)"""


def faults(page: Page) -> list[str]:
    """Return all that axe-core finds, each with the elements that it names.

    An open menu is no part of a landmark, nor of the page that lies below it.
    """
    page.wait_for_function("!document.getAnimations().some((one) => one.playState === 'running' "
                           "&& one.effect.getComputedTiming().iterations === 1)")  # fmt: skip
    found: list[dict[str, Any]] = Axe().run(page).response["violations"]
    return [
        f"{fault['id']}: {node['target']} {node['html'][:120]} {node['failureSummary']}"
        for fault in found
        for node in fault["nodes"]
        if not (fault["id"] == "region" and "q-portal--menu" in str(node["target"]))
    ]


@contextmanager
def reading(browser: Browser, address: str, theme: Theme, device: dict[str, Any], path: str = "/") -> Iterator[Page]:
    with visit(browser, address, path, **device, color_scheme=theme, reduced_motion="reduce", bypass_csp=True) as page:
        page.wait_for_selector(".status", state="hidden")
        yield page


@pytest.fixture
def stored(warm_api: StandIn) -> str:
    """A conversation in which everything occurs that an answer can hold."""
    conversation_id = warm_api.add_conversation("Rivers and their lengths")
    question = warm_api.add_message(conversation_id, "user", "How does the cache work?\n\nFile `a.csv`:\n```\na,b\n```")
    warm_api.add_message(conversation_id, "assistant", "It does not.")
    warm_api.add_message(conversation_id, "assistant", ANSWER, parent=question)
    warm_api.add_message(conversation_id, "user", "And then?")
    warm_api.add_message(conversation_id, "assistant", "It was cut", status="incomplete")
    return conversation_id


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_an_empty_page_and_its_dialogs(browser: Browser, warm_address: str, stored: str, theme: Theme) -> None:
    del stored
    with reading(browser, warm_address, theme, DESKTOP) as page:
        assert faults(page) == []
        page.get_by_label("Keyboard shortcuts").click()
        expect(page.get_by_role("dialog")).to_be_visible()
        assert faults(page) == []
        page.keyboard.press("Escape")
        expect(page.get_by_role("dialog")).to_have_count(0)
        page.get_by_label("Chat settings").click()
        expect(page.get_by_role("dialog")).to_be_visible()
        assert faults(page) == []
        page.keyboard.press("Escape")
        expect(page.get_by_role("dialog")).to_have_count(0)
        page.locator(".entry-link").hover()
        page.get_by_label("Options for").first.click()
        expect(page.locator(".q-menu")).to_be_visible()
        assert faults(page) == []
        page.get_by_text("Rename", exact=True).click()
        expect(page.get_by_role("dialog")).to_be_visible()
        assert faults(page) == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_conversation_and_what_is_done_with_it(
    browser: Browser, warm_address: str, warm_api: StandIn, stored: str, theme: Theme
) -> None:
    with reading(browser, warm_address, theme, DESKTOP, f"/c/{stored}") as page:
        expect(page.locator(".markdown .math mfrac")).to_have_count(1)
        assert faults(page) == []
        page.get_by_label("Edit question").first.click()
        expect(page.locator(".editor textarea").first).to_be_visible()
        page.get_by_label("Search conversations").fill("cache")
        expect(page.locator(".found").first).to_be_visible()
        page.locator(".found").first.hover()
        assert faults(page) == []
        page.locator(".chat input[type=file]").set_input_files(
            [
                {"name": "a.txt", "mimeType": "text/plain", "buffer": b"a b"},
                {"name": "b.bin", "mimeType": "", "buffer": b"\0"},
            ]
        )
        expect(page.locator(".file-refused")).to_be_visible()
        assert faults(page) == []
        warm_api.behaviour.reasoning, warm_api.behaviour.hold_after = "First I think.", 4
        page.locator(".composer textarea").fill("Go on")
        page.keyboard.press("Enter")
        expect(page.locator(".answer.live")).to_contain_text("Hello there! I am")
        assert faults(page) == []
        page.get_by_label("Stop").click()
        expect(page.locator(".note").last).to_contain_text("You stopped this answer.")
        page.get_by_label("About this answer").last.click()
        assert faults(page) == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_failures_and_a_model_that_loads(browser: Browser, address: str, api: StandIn, theme: Theme) -> None:
    with reading(browser, address, theme, DESKTOP) as page:
        api.behaviour.fail_status, api.behaviour.fail_code = 503, "overloaded"
        page.locator(".prompt").first.click()
        expect(page.locator(".error-notice").filter(visible=True)).to_be_visible()
        assert faults(page) == []
        for state in ("loading", "failed"):
            api.behaviour.models = {"guide": state}
            expect(page.locator(f".status[data-phase={state}]")).to_be_visible()
            assert faults(page) == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_phone_with_the_list_open(browser: Browser, warm_address: str, stored: str, theme: Theme) -> None:
    with reading(browser, warm_address, theme, PHONE, f"/c/{stored}") as page:
        expect(page.locator(".answer")).to_have_count(2)
        assert faults(page) == []
        page.get_by_label("Open the sidebar").click()
        expect(page.locator(".sidebar")).to_be_visible()
        assert faults(page) == []


def test_an_answer_is_said_block_by_block(browser: Browser, warm_address: str, warm_api: StandIn) -> None:
    """Opening a conversation says nothing; of an answer that comes, each block is said once, when it is whole."""
    warm_api.behaviour.answer = "First **block** of words.\n\nSecond block.\n\nLast block, with an end."
    warm_api.behaviour.token_delay_s = 0.05
    with reading(browser, warm_address, "light", DESKTOP) as page:
        page.evaluate(SAYS)
        page.locator(".prompt").first.click()
        expect(page.locator(".answer.live")).to_be_visible()
        expect(page.locator(".answer:not(.live)")).to_contain_text("with an end.")
        assert page.evaluate("window.said") == ["First block of words.", "Second block.\nLast block, with an end."]


def test_a_german_reader_s_screen_reader_speaks_german(browser: Browser, warm_address: str) -> None:
    with visit(browser, warm_address, locale="de-DE") as page:
        expect(page.locator(".composer textarea")).to_have_attribute("aria-label", "Ihre Nachricht")
        assert page.evaluate("document.documentElement.lang") == "de"


def test_who_wants_no_motion_gets_none(browser: Browser, warm_address: str, warm_api: StandIn) -> None:
    warm_api.behaviour.hold_after = 0
    with reading(browser, warm_address, "light", DESKTOP) as page:
        page.locator(".prompt").first.click()
        expect(page.locator(".thinking")).to_be_visible()
        page.wait_for_timeout(100)
        running = """document.getAnimations().filter((one) => one.playState === 'running').map(
          (one) => `${one.animationName ?? one.transitionProperty} of ${one.effect.target.outerHTML.slice(0, 200)}`)"""
        assert page.evaluate(running) == []
        page.emulate_media(reduced_motion="no-preference")
        page.wait_for_function(f"{running}.length > 0")


# What a screen reader says by ARIA's rules: the text of what is added where the nearest `aria-live` is "polite".
SAYS = """() => {
  window.said = [];
  const isLive = (node) => node.closest?.("[aria-live]")?.getAttribute("aria-live") === "polite";
  new MutationObserver((changes) => {
    const added = new Set(changes.flatMap((change) => [...change.addedNodes]));
    const whole = [...added].filter((node) => isLive(node) && !added.has(node.parentNode));
    window.said.push(...whole.map((node) => node.textContent.trim()));
  }).observe(document.querySelector(".turns"), { childList: true, subtree: true });
}"""


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_comparison(browser: Browser, warm_address: str, theme: Theme) -> None:
    with reading(browser, warm_address, theme, DESKTOP, "/compare") as page:
        expect(page.locator(".side .model")).to_have_count(2)
        assert faults(page) == []
        page.locator(".composer textarea").fill("Which is better?")
        page.keyboard.press("Enter")
        expect(page.get_by_role("button", name="Keep this answer")).to_have_count(2)
        assert faults(page) == []


WIDE = f"""A line of code that is wider than the page:

```text
{"wide " * 80}
```

| {" | ".join(f"A long heading {n}" for n in range(20))} |
|{"---|" * 20}
| {" | ".join("a cell" for _ in range(20))} |

$${" + ".join(f"x_{{{n}}}" for n in range(90))}$$"""


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_menus_and_what_scrolls(browser: Browser, address: str, api: StandIn, theme: Theme) -> None:
    api.behaviour.models = {"guide": "ready", "larger": "ready"}
    conversation_id = api.add_conversation("Wide")
    lines = "\n".join(f"line {n}" for n in range(60))
    api.add_message(conversation_id, "user", f"Look.\n\nFile `a.txt`:\n```\n{lines}\n```")
    api.add_message(conversation_id, "assistant", WIDE)
    with reading(browser, address, theme, DESKTOP, f"/c/{conversation_id}") as page:
        expect(page.locator(".markdown .math math")).to_have_count(1)
        page.locator(".question-file summary").click()
        for box in (".markdown pre", ".markdown .table", ".markdown .math-block", ".question-file pre"):
            expect(page.locator(box)).to_have_attribute("tabindex", "0")
        assert faults(page) == []
        for button in (".picker button", ".topbar .icon-dots"):
            page.locator(button).click()
            expect(page.get_by_role("menu")).to_be_visible()
            assert faults(page) == []
            page.keyboard.press("Escape")
            expect(page.get_by_role("menu")).to_have_count(0)
        page.locator(".account").click()
        expect(page.locator(".account-title")).to_be_visible()
        assert faults(page) == []
        page.keyboard.press("Escape")
        page.locator(".topbar .icon-dots").click()
        page.locator(".q-menu").get_by_text("Share").click()
        page.get_by_role("dialog").get_by_text("Create link").click()
        link = page.get_by_role("dialog").get_by_label("Link", exact=True)
        expect(link).to_be_visible()
        assert faults(page) == []
        page.goto(link.input_value())
        expect(page.locator(".shared .markdown pre")).to_have_attribute("tabindex", "0")
        assert faults(page) == []
