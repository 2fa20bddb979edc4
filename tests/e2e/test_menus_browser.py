"""Menus as native ones are, by keys and by mouse; the open conversation has one, wherever it was opened from."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.e2e.chromium import DESKTOP, PHONE
from tests.e2e.test_dialogs_browser import ready
from tests.ui.stand_in import StandIn

pytestmark = pytest.mark.browser


def add(api: StandIn, title: str, question: str, age_s: float = 0.0) -> str:
    conversation_id = api.add_conversation(title, age_s)
    api.add_message(conversation_id, "user", question)
    api.add_message(conversation_id, "assistant", "The Nile.")
    return conversation_id


def expect_at(page: Page, label: str) -> None:
    expect(page.locator(".q-menu :focus")).to_have_text(label)


def test_a_menu_needs_only_the_keyboard(browser: Browser, warm_address: str, warm_api: StandIn) -> None:
    add(warm_api, "Rivers", "Which river is longest?")
    with ready(browser, warm_address) as page:
        button, menu = page.locator(".entry .icon-dots"), page.get_by_role("menu")
        button.focus()
        page.keyboard.press("Enter")
        expect_at(page, "Pin")
        expect(button).to_have_attribute("aria-expanded", "true")
        for key, label in {"ArrowDown": "Rename", "End": "Delete", "Home": "Pin", "ArrowUp": "Delete"}.items():
            page.keyboard.press(key)
            expect_at(page, label)
        for letter, label in [("e", "Export as Markdown"), ("e", "Export as JSON"), ("E", "Export as Markdown")]:
            page.keyboard.press(letter)
            expect_at(page, label)
        page.wait_for_timeout(700)  # then a word begins anew
        page.keyboard.type("export as j")
        expect_at(page, "Export as JSON")
        page.keyboard.press("?")  # is no shortcut here
        expect_at(page, "Export as JSON")
        page.keyboard.press("Escape")
        expect(menu).to_have_count(0)
        expect(button).to_be_focused()
        expect(button).to_have_attribute("aria-expanded", "false")

        page.keyboard.press("ArrowUp")
        expect_at(page, "Delete")
        page.keyboard.press("Tab")
        expect(menu).to_have_count(0)
        expect(button).to_be_focused()
        page.keyboard.press("Tab")
        expect(button).not_to_be_focused()

        button.focus()
        page.keyboard.press("ArrowDown")
        expect_at(page, "Pin")
        page.keyboard.press("ArrowDown")
        page.keyboard.press("Space")
        dialog = page.get_by_role("dialog", name="Rename conversation")
        expect(dialog.get_by_label("Title")).to_be_focused()
        page.keyboard.press("Escape")
        expect(dialog).to_have_count(0)
        expect(button).to_be_focused()

        page.locator(".account").focus()
        page.keyboard.press("Enter")
        expect(page.get_by_role("dialog", name="Your account")).to_contain_text("Reader")
        page.keyboard.press("Escape")
        expect(page.locator(".account")).to_be_focused()


def test_how_long_a_link_is_valid_is_chosen_by_arrow_keys(
    browser: Browser, warm_address: str, warm_api: StandIn
) -> None:
    conversation_id = add(warm_api, "Rivers", "Which river is longest?")
    with ready(browser, warm_address, path=f"/c/{conversation_id}") as page:
        page.get_by_role("button", name="Chat options").click()
        page.locator(".q-menu").get_by_text("Share").click()
        page.get_by_role("radio", name="no expiration").focus()
        for key, label in {"ArrowRight": "1 day", "ArrowDown": "7 days", "ArrowLeft": "1 day"}.items():
            page.keyboard.press(key)
            expect(page.get_by_role("radio", name=label)).to_be_focused()
            expect(page.get_by_role("radio", name=label)).to_be_checked()
        page.get_by_role("dialog").get_by_text("Create link").click()
        expect(page.get_by_text("valid until")).to_be_visible()


def test_the_menu_of_models_shows_which_is_chosen(browser: Browser, address: str, api: StandIn) -> None:
    api.behaviour.models = {"guide": "ready", "larger": "ready", "largest": "ready"}
    with ready(browser, address) as page:
        page.locator(".picker button").click()
        expect(page.get_by_role("menuitemradio", name="guide")).to_be_checked()
        expect_at(page, "guide")
        page.keyboard.type("large")
        expect_at(page, "larger")
        page.keyboard.press("ArrowDown")
        page.keyboard.press("Enter")
        expect(page.locator(".picker")).to_have_text("largest")
        page.locator(".picker button").click()
        expect_at(page, "largest")
        page.locator(".picker button").click()
        expect(page.get_by_role("menu")).to_have_count(0)


def opened_from_the_search(page: Page) -> Locator:
    """Open the old conversation from the search; returns the button of its menu."""
    page.get_by_label("Search conversations").fill("deepest")
    page.locator(".found").click()
    expect(page.locator(".bubble")).to_have_text("Which lake is deepest?")
    return page.get_by_role("button", name="Chat options")


@pytest.mark.parametrize("device", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_a_chat_opened_from_the_search_has_its_menu(
    browser: Browser, warm_address: str, warm_api: StandIn, device: dict[str, object], tmp_path: Path
) -> None:
    old = add(warm_api, "Lakes", "Which lake is deepest?", age_s=9_000)
    for number in range(25):
        add(warm_api, f"Rivers {number}", "Which river is longest?", age_s=number)
    with ready(browser, warm_address, device) as page:
        expect(page.get_by_label("Chat options")).to_be_hidden()  # there is no chat yet
        if device is PHONE:
            page.get_by_label("Open the sidebar").click()
        more = opened_from_the_search(page)
        expect(page).to_have_title("Lakes")
        menu = page.locator(".q-menu")
        more.click()
        menu.get_by_text("Rename").click()
        page.get_by_role("dialog").get_by_label("Title").fill("Seas")
        page.get_by_role("dialog").get_by_text("Save").click()
        expect(page).to_have_title("Seas")
        assert warm_api.conversations[old]["title"] == "Seas"

        more.click()
        menu.get_by_text("Pin").click()
        more.click()
        menu.get_by_text("Unpin").click()

        more.click()
        with page.expect_download() as download:
            menu.get_by_text("Export as Markdown").click()
        download.value.save_as(tmp_path / "seas.md")
        assert (tmp_path / "seas.md").read_text().startswith("# Seas\n")

        more.click()
        menu.get_by_text("Share").click()
        expect(page.get_by_role("dialog", name="Share conversation")).to_be_visible()
        page.keyboard.press("Escape")
        expect(page.get_by_role("dialog")).to_have_count(0)

        more.click()
        menu.get_by_text("Delete").click()
        expect(page.locator(".greeting")).to_be_visible()
        expect(more).to_be_hidden()
        page.get_by_role("button", name="Undo").click()
        expect(page.locator(".bubble")).to_have_text("Which lake is deepest?")
        expect(more).to_be_visible()
        expect(page).to_have_url(re.compile(old))


def test_an_undone_deletion_leaves_no_gap_in_the_list(browser: Browser, warm_address: str, warm_api: StandIn) -> None:
    add(warm_api, "Lakes", "Which lake is deepest?", age_s=9_000)
    for number in range(45):
        add(warm_api, f"Rivers {number}", "Which river is longest?", age_s=number)
    with ready(browser, warm_address) as page:
        opened_from_the_search(page).click()
        page.locator(".q-menu").get_by_text("Delete").click()
        page.get_by_role("button", name="Undo").click()
        expect(page.locator(".bubble")).to_have_text("Which lake is deepest?")
        page.get_by_label("Search conversations").fill("")
        for shown in (40, 46):
            page.get_by_role("button", name="Show more").click()
            expect(page.locator(".entry-link")).to_have_count(shown)
        expect(page.locator(".entry-link").last).to_have_text("Lakes")
