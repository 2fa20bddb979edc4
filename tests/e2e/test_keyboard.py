"""Everything that the page can do, without a mouse."""

import re

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.e2e.chromium import DESKTOP, visit
from tests.ui.stand_in import StandIn

pytestmark = pytest.mark.browser


def tab_to(page: Page, label: str, key: str = "Tab") -> None:
    """Press `key` until the element of that name has the focus; it must be seen to have it."""
    for _ in range(60):
        page.keyboard.press(key)
        focused = page.locator(":focus")
        if focused.count() and (focused.get_attribute("aria-label") or focused.inner_text()) == label:
            assert focused.evaluate("(one) => getComputedStyle(one).outlineStyle") == "solid", "the focus is not seen"
            expect(focused).to_have_css("opacity", "1")
            return
    raise AssertionError(f"{label!r} cannot be reached")


def ask(page: Page, api: StandIn, question: str, answer: str) -> None:
    api.behaviour.answer = answer
    page.keyboard.type(question)
    page.keyboard.press("Enter")
    expect(page.locator(".answer:not(.live)").last).to_contain_text(answer)


def test_a_whole_conversation(browser: Browser, warm_address: str, warm_api: StandIn) -> None:
    with visit(browser, warm_address, **DESKTOP) as page:
        page.wait_for_selector(".status", state="hidden")
        expect(page.locator(".composer textarea")).to_be_focused()
        ask(page, warm_api, "Which river is longest?", "The Nile.")
        expect(page.locator(".composer textarea")).to_be_focused()
        ask(page, warm_api, "And then?", "The Amazon.")

        warm_api.behaviour.answer = "The Yangtze."
        page.keyboard.press("Alt+r")
        expect(page.locator(".answer").last).to_contain_text("The Yangtze.")
        expect(page.locator(".pager-place:visible")).to_have_text("2/2")
        tab_to(page, "Previous version", "Shift+Tab")
        page.keyboard.press("Enter")
        expect(page.locator(".answer").last).to_contain_text("The Amazon.")

        tab_to(page, "Edit question", "Shift+Tab")
        page.keyboard.press("Enter")
        expect(page.locator(".editor:visible textarea")).to_be_focused()
        page.keyboard.press("Control+A")
        page.keyboard.type("And in Europe?")
        warm_api.behaviour.answer = "The Volga."
        tab_to(page, "Send again")
        page.keyboard.press("Enter")
        expect(page.locator(".bubble").last).to_have_text("And in Europe?")
        expect(page.locator(".answer").last).to_contain_text("The Volga.")


def test_an_editor_that_opens_late_leaves_the_field_in_which_the_user_writes(
    browser: Browser, warm_address: str, warm_api: StandIn
) -> None:
    conversation_id = warm_api.add_conversation("Rivers")
    warm_api.add_message(conversation_id, "user", "Which river is longest?")
    with visit(browser, warm_address, f"/c/{conversation_id}", **DESKTOP) as page:
        page.get_by_label("Edit question").click()
        expect(page.locator(".editor textarea")).to_be_focused()
        page.evaluate("document.querySelector('.search input').focus(); chatllm.focusEditor()")
        page.wait_for_timeout(300)
        expect(page.locator(".search input")).to_be_focused()


def test_the_list_of_keys_and_the_search(browser: Browser, warm_address: str, warm_api: StandIn) -> None:
    conversation_id = warm_api.add_conversation("Rivers")
    warm_api.add_message(conversation_id, "user", "Which river is longest?")
    with visit(browser, warm_address, **DESKTOP) as page:
        page.wait_for_selector(".status", state="hidden")
        tab_to(page, "Keyboard shortcuts", "Shift+Tab")
        page.keyboard.press("?")
        dialog = page.get_by_role("dialog", name="Keyboard shortcuts")
        expect(dialog).to_be_visible()
        for _ in range(4):  # the focus stays within; the body has it while it goes around by the browser's own bar
            page.keyboard.press("Tab")
            page.wait_for_function("document.activeElement.matches('body, .q-dialog, .q-dialog *')")
        page.keyboard.press("Escape")
        expect(dialog).to_have_count(0)
        expect(page.get_by_label("Keyboard shortcuts")).to_be_focused()  # where it was before

        page.keyboard.press("Alt+k")
        expect(page.get_by_label("Search conversations")).to_be_focused()
        page.keyboard.type("longest")
        expect(page.locator(".found")).to_be_visible()
        tab_to(page, page.locator(".found").inner_text())
        page.keyboard.press("Enter")
        expect(page.locator(".bubble")).to_have_text("Which river is longest?")
        expect(page).to_have_url(re.compile(conversation_id))
        page.keyboard.press("Alt+n")
        expect(page.locator(".greeting")).to_be_visible()
