"""Shortcuts never take what is being written: Option on a Mac, AltGr, dead keys and input methods write characters."""

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.e2e.chromium import DESKTOP
from tests.e2e.test_dialogs_browser import ready
from tests.ui.stand_in import StandIn

pytestmark = pytest.mark.browser

MAC = (
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/156.0.0.0 Safari/537.36"
)
ALT, CONTROL = 1, 2


def press(page: Page, code: str, key: str, modifiers: int, text: str = "") -> None:
    """Press a key as the operating system tells of it, with the text that it writes."""
    told = {"code": code, "key": key, "modifiers": modifiers}
    session = page.context.new_cdp_session(page)
    session.send("Input.dispatchKeyEvent", {"type": "keyDown" if text else "rawKeyDown", **told, "text": text})
    session.send("Input.dispatchKeyEvent", {"type": "keyUp", **told})


def test_option_on_a_mac_writes_characters(browser: Browser, warm_address: str, warm_api: StandIn) -> None:
    with ready(browser, warm_address, DESKTOP | {"user_agent": MAC}) as page:
        composer = page.locator(".composer textarea")
        composer.click()
        for code, text in [("KeyV", "√"), ("KeyC", "ç"), ("KeyR", "®"), ("KeyK", "˚"), ("KeyN", "ñ")]:
            press(page, code, text, ALT, text)
        expect(composer).to_have_value("√ç®˚ñ")
        expect(page).to_have_url(f"{warm_address}/")
        press(page, "KeyN", "Dead", ALT)  # Option+N waits for the letter that gets the tilde
        expect(composer).to_be_focused()
        expect(composer).to_have_value("√ç®˚ñ")
        press(page, "KeyK", "˚", ALT | CONTROL)  # with Control it is a shortcut
        expect(page.get_by_label("Search conversations")).to_be_focused()
        page.locator("#scroll").click(position={"x": 5, "y": 5})
        page.keyboard.press("?")
        expect(page.locator(".keys")).to_contain_text("Control+Option+N")
        expect(page.locator(".keys")).not_to_contain_text("Alt")


def test_altgr_and_other_layouts(browser: Browser, warm_address: str, warm_api: StandIn) -> None:
    with ready(browser, warm_address) as page:
        composer = page.locator(".composer textarea")
        composer.click()
        for how in (
            "altKey: true, ctrlKey: true",
            "altKey: true, modifierAltGraph: true",
        ):  # Windows' AltGr, and others'
            assert page.evaluate(f"""document.querySelector(".composer textarea").dispatchEvent(new KeyboardEvent(
              "keydown", {{ code: "KeyV", key: "„", {how}, bubbles: true, cancelable: true }}))"""), "it was taken"
        expect(page).to_have_url(f"{warm_address}/")
        press(page, "KeyK", "т", ALT)  # a Russian layout: the key where K is
        expect(page.get_by_label("Search conversations")).to_be_focused()
        composer.click()
        press(page, "KeyV", "k", ALT)  # Dvorak: the letter counts, not its place
        expect(page.get_by_label("Search conversations")).to_be_focused()
        expect(page).to_have_url(f"{warm_address}/")
