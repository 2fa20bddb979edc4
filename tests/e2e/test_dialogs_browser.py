"""Every dialog and form, by mouse, by touch and by keys: what is typed is kept, or told to be wrong where it stands."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.e2e.chromium import DESKTOP, PHONE, visit
from tests.ui.stand_in import StandIn

pytestmark = pytest.mark.browser

SETTINGS = "Chat settings"
CONTROLS = "input:not([type=hidden]), textarea, button, a[href], summary, [role=radio]"


@contextmanager
def ready(browser: Browser, address: str, device: dict[str, Any] = DESKTOP, path: str = "/") -> Iterator[Page]:
    with visit(browser, address, path, **device) as page:
        page.wait_for_selector(".status", state="hidden")
        page.wait_for_function("window.did_handshake")
        yield page


def takes_clicks(within: Locator, count: int) -> None:
    """Check that a click on each of `count` controls reaches it, and click into the fields."""
    controls = within.locator(CONTROLS).filter(visible=True)
    expect(controls).to_have_count(count)
    for control in controls.all():
        control.click(trial=True, timeout=3_000)
        if control.evaluate("(one) => one.matches('input:not([type=radio]), textarea')"):
            control.click()
            expect(control).to_be_focused()
            expect(within).to_be_visible()


def choose(page: Page, option: str) -> None:
    """Take an option of the first conversation's menu in the list."""
    page.locator(".entry").first.hover()
    page.locator(".entry .icon-dots").first.click()
    page.locator(".q-menu").get_by_text(option, exact=True).click()


@pytest.fixture
def stored(warm_api: StandIn) -> str:
    conversation_id = warm_api.add_conversation("Rivers")
    warm_api.add_message(conversation_id, "user", "Which river is longest?")
    warm_api.add_message(conversation_id, "assistant", "The Nile.")
    return conversation_id


@pytest.mark.parametrize("device", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_every_control_of_every_dialog_takes_a_click(
    browser: Browser, warm_address: str, stored: str, device: dict[str, Any]
) -> None:
    with ready(browser, warm_address, device, f"/c/{stored}") as page:
        dialog = page.get_by_role("dialog")
        takes_clicks(page.locator(".topbar"), 6 if device is PHONE else 5)
        page.get_by_label(SETTINGS).click()
        takes_clicks(dialog, 6)
        dialog.get_by_text("Cancel").click()
        expect(dialog).to_have_count(0)
        if device is PHONE:
            page.get_by_label("Open the sidebar").click()
        else:
            page.get_by_label("Keyboard shortcuts").click()
            takes_clicks(dialog, 1)
            dialog.get_by_role("button", name="Close").click()
            expect(dialog).to_have_count(0)
        choose(page, "Rename")
        takes_clicks(dialog, 3)
        dialog.get_by_text("Cancel").click()
        expect(dialog).to_have_count(0)
        choose(page, "Share")
        dialog.get_by_text("7 days").click()
        dialog.get_by_text("Create link").click()
        expect(dialog.get_by_label("Link", exact=True)).to_be_visible()
        expect(dialog.get_by_text("Revoke")).to_be_visible()
        takes_clicks(dialog, 9)
        dialog.get_by_text("Revoke").click()
        expect(dialog.get_by_text("Revoke")).to_have_count(0)
        dialog.get_by_role("button", name="Close").click()
        expect(dialog).to_have_count(0)
        page.locator(".account").click()
        expect(page.locator(".account-title")).to_be_visible()
        page.keyboard.press("Escape")
        takes_clicks(page.locator(".sidebar"), 7 if device is PHONE else 6)


@pytest.mark.parametrize("way", ["mouse", "touch", "keys"])
def test_chat_settings_are_saved_and_used(browser: Browser, warm_address: str, warm_api: StandIn, way: str) -> None:
    with ready(browser, warm_address, PHONE if way == "touch" else DESKTOP) as page:
        opens = page.get_by_label(SETTINGS)
        opens.tap() if way == "touch" else opens.click()
        dialog = page.get_by_role("dialog")
        expect(dialog).to_be_visible()
        values = {"System prompt": "Rhyme.", "Temperature": "0,5", "Top-p": "0.9", "Maximum length": "64"}
        for label, value in values.items():
            field = dialog.get_by_label(label, exact=True)
            if way == "keys":
                field.focus()
            else:
                field.tap() if way == "touch" else field.click()
            page.keyboard.type(value)
        if way == "keys":
            page.keyboard.press("Enter")
        else:
            dialog.get_by_text("Save").tap() if way == "touch" else dialog.get_by_text("Save").click()
        expect(dialog).to_have_count(0)
        page.locator(".composer textarea").fill("Hello")
        page.get_by_label("Send").click()
        expect(page.locator(".answer:not(.live)")).to_contain_text("stand-in")
        asked = warm_api.seen.requests[0]
        assert (asked["temperature"], asked["top_p"], asked["max_output_tokens"]) == (0.5, 0.9, 64)
        assert asked["input"][0] == {"role": "system", "content": "Rhyme."}


def test_a_value_that_cannot_be_taken_is_told_beside_its_field(
    browser: Browser, warm_address: str, stored: str
) -> None:
    with ready(browser, warm_address, path=f"/c/{stored}") as page:
        page.get_by_label(SETTINGS).click()
        dialog = page.get_by_role("dialog")
        wrong = {
            "Temperature": ("abc", "Enter a number from 0 to 2."),
            "Top-p": ("7", "Enter a number from 0 to 1."),
            "Maximum length": ("1.5", "Enter a whole number from 1 to 131,072."),
            "System prompt": ("a" * 4_001, "Too long: 4,001 of at most 4,000 characters."),
        }
        for label, (value, said) in wrong.items():
            field = dialog.get_by_label(label, exact=True)
            field.fill(value)
            expect(field).to_have_attribute("aria-invalid", "true")
            expect(field).to_have_accessible_description(said)
            expect(dialog.get_by_text(said)).to_be_visible()
        dialog.get_by_text("Save").click()
        expect(dialog.get_by_label("System prompt", exact=True)).to_be_focused()  # the first that is wrong
        for label in wrong:
            dialog.get_by_label(label, exact=True).fill("")
            expect(dialog.get_by_label(label, exact=True)).not_to_have_attribute("aria-invalid", "true")
        expect(dialog.locator(".field-fault:not(:empty)")).to_have_count(0)
        dialog.get_by_text("Save").click()
        expect(dialog).to_have_count(0)


def test_a_comparison_is_not_asked_at_a_temperature_that_is_none(
    browser: Browser, warm_address: str, warm_api: StandIn
) -> None:
    with ready(browser, warm_address, path="/compare") as page:
        field = page.get_by_label("Temperature").last
        expect(field).to_have_value("1")
        field.fill("hot")
        page.locator(".composer textarea").fill("Which is better?")
        page.keyboard.press("Enter")
        expect(page.locator(".side .field-fault").last).to_have_text("Enter a number from 0 to 2.")
        expect(field).to_be_focused()
        expect(page.locator(".composer textarea")).to_have_value("Which is better?")
        assert not warm_api.seen.requests
        field.fill("1")
        page.locator(".composer textarea").press("Enter")
        expect(page.get_by_role("button", name="Keep this answer")).to_have_count(2)
        assert sorted(asked["temperature"] for asked in warm_api.seen.requests) == [0, 1]


def composes(page: Page, text: str, accepts_with: str = "Enter") -> None:
    """Write with an input method, whose candidate is accepted, or given up, with a key."""
    browser = page.context.new_cdp_session(page)
    browser.send("Input.imeSetComposition", {"text": text, "selectionStart": len(text), "selectionEnd": len(text)})
    key = {"key": accepts_with, "code": accepts_with, "windowsVirtualKeyCode": 229}
    browser.send("Input.dispatchKeyEvent", {"type": "rawKeyDown", **key})
    browser.send("Input.insertText", {"text": text if accepts_with == "Enter" else ""})
    browser.send("Input.dispatchKeyEvent", {"type": "keyUp", **key})


def test_enter_of_an_input_method_ends_its_word_only(
    browser: Browser, warm_address: str, warm_api: StandIn, stored: str
) -> None:
    with ready(browser, warm_address, path=f"/c/{stored}") as page:
        dialog = page.get_by_role("dialog")
        choose(page, "Rename")
        title = dialog.get_by_label("Title")
        title.fill("")
        composes(page, "川")
        page.wait_for_timeout(300)
        expect(title).to_have_value("川")
        assert warm_api.conversations[stored]["title"] == "Rivers"
        page.keyboard.press("Enter")
        expect(dialog).to_have_count(0)
        expect(page.locator(".entry-link")).to_have_text("川")

        page.get_by_label(SETTINGS).click()
        dialog.get_by_label("Temperature").click()
        composes(page, "１")
        page.wait_for_timeout(300)
        expect(dialog).to_be_visible()
        page.keyboard.press("Enter")
        expect(dialog).to_have_count(0)

        page.locator(".composer textarea").click()
        composes(page, "川?")
        page.wait_for_timeout(300)
        assert not warm_api.seen.requests
        page.get_by_label("Edit question").click()
        composes(page, "川", accepts_with="Escape")
        page.wait_for_timeout(300)
        expect(page.locator(".editor textarea")).to_be_visible()
        page.keyboard.press("Escape")
        expect(page.locator(".editor textarea")).to_be_hidden()


def test_enter_of_an_input_method_does_not_sign_in(browser: Browser, warm_address: str) -> None:
    with visit(browser, warm_address, "/ops", shows=".ops-access input", **DESKTOP) as page:
        page.wait_for_function("window.did_handshake")
        page.locator(".ops-access input").click()
        composes(page, "k")
        page.wait_for_timeout(300)
        expect(page.locator(".access-notice")).to_have_text("")
        page.keyboard.press("Enter")
        expect(page.locator(".access-notice")).not_to_have_text("")
