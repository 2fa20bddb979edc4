"""Small screens and large letters, lost focus, and what is said of what has just happened."""

from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from tests.e2e.chromium import DESKTOP, keep
from tests.e2e.test_dialogs_browser import choose, ready
from tests.ui.stand_in import StandIn

pytestmark = pytest.mark.browser

ZOOMED: dict[str, Any] = {"viewport": {"width": 640, "height": 400}, "device_scale_factor": 2}  # 1280 x 800 at 200 %
ON_ITS_SIDE: dict[str, Any] = {"viewport": {"width": 844, "height": 390}, "has_touch": True, "is_mobile": True}


@pytest.mark.parametrize("device", [ZOOMED, ON_ITS_SIDE], ids=["zoomed", "on its side"])
def test_the_welcome_is_read_from_its_start(browser: Browser, warm_address: str, device: dict[str, Any]) -> None:
    with ready(browser, warm_address, device) as page:
        page.wait_for_timeout(300)
        assert page.evaluate("document.getElementById('scroll').scrollTop") == 0
        expect(page.locator(".greeting")).to_be_in_viewport(ratio=1)
        expect(page.locator(".composer textarea")).to_be_in_viewport(ratio=1)
        expect(page.get_by_label("Send")).to_be_in_viewport(ratio=1)
        expect(page.locator("html")).not_to_contain_class("away-from-end")
        keep(page, f"welcome-{device['viewport']['width']}")


@pytest.fixture
def api() -> StandIn:
    """A service with several models, one of a long name."""
    api = StandIn()
    api.behaviour.models = {"a-model-with-a-name-as-long-as-they-are": "ready", "guide": "ready"}
    return api


def test_a_narrow_phone_scrolls_nothing_sideways(browser: Browser, address: str, api: StandIn) -> None:
    conversation_id = api.add_conversation("Rivers")
    api.add_message(conversation_id, "user", "Which river is longest?")
    with ready(browser, address, ON_ITS_SIDE | {"viewport": {"width": 320, "height": 640}}) as page:
        page.goto(f"{address}/c/{conversation_id}")
        expect(page.get_by_role("button", name="Chat options")).to_be_in_viewport(ratio=1)
        expect(page.locator(".picker")).to_have_text("a-model-with-a-name-as-long-as-they-are")
        assert page.evaluate("document.documentElement.scrollWidth") == 320
        keep(page, "narrow-phone")


def test_the_focus_is_never_lost(browser: Browser, warm_address: str, warm_api: StandIn) -> None:
    warm_api.behaviour.hold_after = 3
    with ready(browser, warm_address) as page:
        page.locator(".prompt").first.click()
        expect(page.locator(".answer.live")).to_contain_text("Hello")
        expect(page.locator(".composer textarea")).to_be_focused()
        page.get_by_label("Stop").focus()
        page.keyboard.press("Enter")
        expect(page.locator(".note")).to_be_visible()
        expect(page.locator(".composer textarea")).to_be_focused()
        page.locator(".topbar .icon-tune").click()
        page.wait_for_function("document.querySelector('.q-dialog')?.contains(document.activeElement)")
        page.wait_for_timeout(300)  # until it stands still
        page.keyboard.press("Escape")
        expect(page.get_by_role("dialog")).to_have_count(0)
        expect(page.get_by_role("button", name="Chat settings")).to_be_focused()
    with ready(browser, warm_address, ON_ITS_SIDE) as page:
        page.locator(".prompt").first.tap()
        expect(page.locator(".answer.live")).to_contain_text("Hello")
        page.wait_for_function("document.activeElement.id === 'scroll'")  # and no keyboard comes up


def test_a_deletion_is_told_to_its_last_word(browser: Browser, warm_address: str, warm_api: StandIn) -> None:
    warm_api.add_conversation("A title that is as long as titles can be, " * 2 + "and longer than a line is wide")
    for device in ({"viewport": {"width": 320, "height": 600}}, DESKTOP):
        with ready(browser, warm_address, device) as page:
            if device is not DESKTOP:
                page.get_by_label("Open the sidebar").click()
            choose(page, "Delete")
            said = page.locator(".toast-text")
            expect(said).to_contain_text("was deleted.")
            assert said.evaluate("(one) => one.scrollWidth <= one.clientWidth && one.scrollHeight <= one.clientHeight")
            for part in (".toast-text", ".toast .button"):
                expect(page.locator(part)).to_be_in_viewport(ratio=1)
            keep(page, f"toast-{device['viewport']['width']}")
            page.get_by_role("button", name="Undo").click()
            expect(page.locator(".entry")).to_have_count(1)


def test_copying_is_confirmed_to_eyes_and_ears(browser: Browser, warm_address: str, warm_api: StandIn) -> None:
    conversation_id = warm_api.add_conversation("Copy")
    warm_api.add_message(conversation_id, "user", "Code?")
    warm_api.add_message(conversation_id, "assistant", "Here:\n\n```python\nprint(1)\n```")
    allowed = DESKTOP | {"permissions": ["clipboard-read", "clipboard-write"]}
    with ready(browser, warm_address, allowed, f"/c/{conversation_id}") as page:
        said = page.locator("body > .unseen[role=status]")
        for label, text in {
            "Copy question": "Code?",
            "Copy answer": "Here:\n\n```python\nprint(1)\n```",
        }.items():
            button = page.get_by_label(label)
            button.click()
            expect(button).to_contain_class("copied")
            expect(said).to_have_text("Copied")
            assert page.evaluate("navigator.clipboard.readText()") == text
            expect(button).not_to_contain_class("copied")
        page.locator(".code-copy").click()
        expect(page.locator(".code-copy")).to_have_text("Copied")
        expect(page.locator(".code-copy")).to_have_text("Copy")
        page.evaluate("() => { navigator.clipboard.writeText = () => Promise.reject(new Error('not allowed')); }")
        button.click()
        expect(said).to_have_text("Could not copy the text")
        expect(button).to_contain_class("not-copied")
