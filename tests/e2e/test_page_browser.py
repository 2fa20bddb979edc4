"""The page in a real browser, in front of the stand-in service: what only a browser can tell."""

import socket
import time
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.e2e.chromium import DESKTOP, PHONE, keep, visit
from tests.ui.process import page_process
from tests.ui.stand_in import StandIn

pytestmark = pytest.mark.browser

ANSWER = """The cache stands **in front of** the model.

```python
print("hello")
```

| Header | Meaning |
|---|---|
| `X-Cache` | where the answer came from |

<script>window.hacked = true</script><img src=x onerror="window.hacked = true">

The sum is $\\frac{n(n+1)}{2} \\log n$.

![a picture](https://example.org/x.png) and [a link](javascript:window.hacked=true)

That is all."""


@pytest.fixture
def api() -> StandIn:
    api = StandIn()
    api.behaviour.answer = ANSWER
    return api


@pytest.fixture
def warm_api(warm_api: StandIn) -> StandIn:
    warm_api.behaviour.answer = ANSWER
    return warm_api


def test_an_answer_is_read_while_it_is_written_and_is_inert(
    browser: Browser, warm_address: str, warm_api: StandIn
) -> None:
    warm_api.behaviour.hold_after = 6
    with visit(browser, warm_address, **DESKTOP) as page:
        keep(page, "empty-light")
        page.locator(".composer textarea").fill("How does the cache work?")
        page.keyboard.press("Enter")
        expect(page.locator(".answer .markdown")).to_contain_text("in front of")
        expect(page.locator(".answer .markdown")).not_to_contain_text("That is all.")
        assert warm_api.seen.finished == 0
        expect(page).to_have_url(f"{warm_address}/c/{next(iter(warm_api.conversations))}")
        warm_api.go_on.set()
        expect(page.locator(".answer .markdown")).to_contain_text("That is all.")
        expect(page.locator(".answer table td").first).to_have_text("X-Cache")
        expect(page.locator(".markdown .math mfrac")).to_have_count(1)
        expect(page.locator(".markdown .math mspace")).to_have_count(2)
        assert page.evaluate("window.hacked") is None
        assert page.locator(".markdown img, .markdown script, .markdown iframe").count() == 0
        expect(page.locator(".markdown a[href^=javascript]")).to_have_count(0)
        keep(page, "answer-light")


def test_a_conversation_needs_only_the_keyboard(browser: Browser, warm_address: str, warm_api: StandIn) -> None:
    warm_api.behaviour.hold_after = 3
    with visit(browser, warm_address, **DESKTOP) as page:
        page.wait_for_selector(".status", state="hidden")
        expect(page.locator(".composer textarea")).to_be_focused()
        page.keyboard.type("one")
        page.keyboard.press("Shift+Enter")
        page.keyboard.type("two")
        page.keyboard.press("Enter")
        expect(page.locator(".bubble")).to_have_text("one\ntwo")
        expect(page.locator(".composer textarea")).to_have_value("")
        expect(page.locator(".answer .markdown")).to_contain_text("The cache")
        page.keyboard.press("Escape")
        expect(page.locator(".note")).to_have_text("You stopped this answer.")
        deadline = time.monotonic() + 5
        while not warm_api.seen.cancelled and time.monotonic() < deadline:
            time.sleep(0.02)
        assert warm_api.seen.cancelled == 1
        page.keyboard.type("again")
        warm_api.go_on.set()
        page.keyboard.press("Enter")
        expect(page.locator(".bubble")).to_have_count(2)


def test_a_reload_in_mid_answer_loses_nothing(browser: Browser, warm_address: str, warm_api: StandIn) -> None:
    warm_api.behaviour.hold_after = 5
    with visit(browser, warm_address, **DESKTOP) as page:
        page.locator(".prompt").first.click()
        expect(page.locator(".answer .markdown")).to_contain_text("in front")
        page.locator(".composer textarea").fill("An unsent draft")
        page.reload()
        expect(page.locator(".answer .markdown")).to_contain_text("in front")
        expect(page.locator(".composer textarea")).to_have_value("An unsent draft")
        warm_api.go_on.set()
        expect(page.locator(".answer .markdown")).to_contain_text("That is all.")
        expect(page.locator(".bubble")).to_have_count(1)
        assert len(warm_api.seen.requests) == 1


def test_the_browser_s_back_button_walks_between_conversations(
    browser: Browser, warm_address: str, warm_api: StandIn
) -> None:
    conversation_id = warm_api.add_conversation("Stored")
    warm_api.add_message(conversation_id, "user", "An old question")
    with visit(browser, warm_address, **DESKTOP) as page:
        page.locator(".entry-link").click()
        expect(page.locator(".bubble")).to_have_text("An old question")
        expect(page).to_have_title("Stored")
        page.go_back()
        expect(page.locator(".greeting")).to_be_visible()
        expect(page.locator(".bubble")).to_have_count(0)
        expect(page).to_have_title("ChatLLM")
        page.go_forward()
        expect(page.locator(".bubble")).to_have_text("An old question")


def test_only_what_is_going_on_turns(browser: Browser, address: str, api: StandIn) -> None:
    api.behaviour.models = {"guide": "asleep"}
    with visit(browser, address, **DESKTOP) as page:
        expect(page.locator(".status-title")).to_have_text("The model is asleep")
        expect(page.locator(".status-mark")).to_have_css("animation-name", "none")
        keep(page, "asleep-light")
        api.behaviour.models = {"guide": "loading"}
        expect(page.locator(".status-mark")).to_have_css("animation-name", "turn")


def test_the_theme_follows_the_system_until_the_reader_chooses(browser: Browser, warm_address: str) -> None:
    with visit(browser, warm_address, **DESKTOP, color_scheme="dark") as page:
        dark = background(page)
        keep(page, "empty-dark")
        page.get_by_label("Switch between light and dark").click()
        light = background(page)
        assert sum(light) > 600 and sum(dark) < 150
        page.reload()
        expect(page.locator(".greeting")).to_be_visible()
        assert background(page) == light
        page.get_by_label("Switch between light and dark").click()
        page.emulate_media(color_scheme="light")
        page.wait_for_function("!document.documentElement.hasAttribute('data-dark')")  # the system's choice again
        assert background(page) == light


def background(page: Page) -> list[int]:
    colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
    return [int(part) for part in colour.removeprefix("rgb(").removesuffix(")").split(",")]


def test_a_phone_shows_the_chat_alone_and_the_list_on_demand(
    browser: Browser, warm_address: str, warm_api: StandIn
) -> None:
    conversation_id = warm_api.add_conversation("On the phone")
    warm_api.add_message(conversation_id, "user", "Hi")
    warm_api.add_message(conversation_id, "assistant", ANSWER)
    with visit(browser, warm_address, **PHONE) as page:
        expect(page.locator(".sidebar")).not_to_be_visible()
        keep(page, "empty-phone")
        page.get_by_label("Open the sidebar").click()
        expect(page.locator(".sidebar")).to_be_visible()
        page.wait_for_timeout(300)
        keep(page, "list-phone")
        page.locator(".entry-link").click()
        expect(page.locator(".sidebar")).not_to_be_visible()
        expect(page.locator(".answer .markdown")).to_contain_text("That is all.")
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        assert page.locator(".composer").bounding_box()["y"] + 60 < 844  # type: ignore[index]
        keep(page, "answer-phone")


def test_scrolling_follows_the_end_only_while_the_reader_is_there(
    browser: Browser, warm_address: str, warm_api: StandIn
) -> None:
    warm_api.behaviour.answer = "\n\n".join(f"Paragraph {number}." for number in range(120))
    warm_api.behaviour.token_delay_s = 0.01
    with visit(browser, warm_address, **DESKTOP) as page:
        page.locator(".prompt").first.click()
        expect(page.locator(".markdown")).to_contain_text("Paragraph 40.")
        page.wait_for_function("(() => { const s = document.getElementById('scroll'); "
                               "return s.scrollHeight - s.scrollTop - s.clientHeight < 80 })()")  # fmt: skip
        page.locator("#scroll").hover()
        page.mouse.wheel(0, -400)
        page.wait_for_timeout(100)
        top = page.evaluate("document.getElementById('scroll').scrollTop")
        expect(page.locator(".markdown")).to_contain_text("Paragraph 119.")
        assert page.evaluate("document.getElementById('scroll').scrollTop") == top
        page.get_by_label("Scroll to the end").click()
        page.wait_for_function("(() => { const s = document.getElementById('scroll'); "
                               "return s.scrollHeight - s.scrollTop - s.clientHeight < 5 })()")  # fmt: skip


def test_code_and_answers_are_copied(browser: Browser, warm_address: str, warm_api: StandIn) -> None:
    conversation_id = warm_api.add_conversation("Copy")
    warm_api.add_message(conversation_id, "user", "Code?")
    warm_api.add_message(conversation_id, "assistant", ANSWER)
    with visit(browser, warm_address, **DESKTOP, permissions=["clipboard-read", "clipboard-write"]) as page:
        page.locator(".entry-link").click()
        page.locator(".code-copy").click()
        expect(page.locator(".code-copy")).to_have_text("Copied")
        assert page.evaluate("navigator.clipboard.readText()") == 'print("hello")\n'
        page.get_by_label("Copy answer").click()
        page.wait_for_timeout(300)
        assert page.evaluate("navigator.clipboard.readText()") == ANSWER


def test_a_footnote_is_reached_by_its_reference_and_leads_back(
    browser: Browser, warm_address: str, warm_api: StandIn
) -> None:
    """The labels of another answer lead nowhere else."""
    conversation_id = warm_api.add_conversation("Notes")
    for number in range(2):
        warm_api.add_message(conversation_id, "user", "Why?")
        filler = "\n\n".join(["A long answer."] * 60)
        warm_api.add_message(conversation_id, "assistant", f"So[^1] it is {number}.\n\n{filler}\n\n[^1]: A note.")
    with visit(browser, warm_address, f"/c/{conversation_id}", **DESKTOP) as page:
        expect(page.locator(".composer textarea")).to_be_focused()  # which the page does once, whatever has the focus
        expect(page.locator(".markdown[aria-busy=true]")).to_have_count(0)
        answer = page.locator(".answer").last
        reference, note = answer.locator("sup button"), answer.locator(".footnote button")
        reference.press("Enter")
        expect(note).to_be_focused()
        expect(note).to_be_in_viewport()
        expect(reference).not_to_be_in_viewport()
        note.press("Enter")
        expect(reference).to_be_focused()
        expect(reference).to_be_in_viewport()


def test_a_page_opened_before_the_service_becomes_usable_by_itself(
    browser: Browser, api: StandIn, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with page_process(f"http://127.0.0.1:{port}", tmp_path) as address, visit(browser, address, **DESKTOP) as page:
        expect(page.locator(".status")).to_contain_text("The service is starting")
        api.behaviour.models = {"guide": "loading"}
        with api.served(port):
            expect(page.locator(".status")).to_contain_text("The model is loading")
            keep(page, "loading-light")
            api.behaviour.models = {"guide": "ready"}
            expect(page.locator(".status")).to_be_hidden()
            page.locator(".prompt").first.click()
            expect(page.locator(".markdown")).to_contain_text("That is all.")
