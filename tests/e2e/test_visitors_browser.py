"""Visitors in a real browser: who signs in with a password or a key, and who only has a link."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from deployments.local.page.link import leading_file
from tests.e2e.chromium import DESKTOP, PHONE, keep, visit
from tests.e2e.test_page_browser import ANSWER
from tests.ui.process import page_process
from tests.ui.stand_in import KEY, StandIn, User
from ui.auth.links import Links

pytestmark = pytest.mark.browser
NEW_KEY = "sk-stand-in-renewed"


@pytest.fixture
def guarded(api: StandIn, tmp_path: Path) -> Iterator[str]:
    """The page's process for visitors who sign in."""
    with api.served() as api_url, page_process(api_url, tmp_path, CHATLLM_PAGE_SIGN_IN="1") as address:
        yield address


def sign_in(page: Page, key: str = KEY) -> None:
    page.locator("input[name=key]").fill(key)
    page.keyboard.press("Enter")


def test_a_link_shows_a_conversation_to_a_browser_that_has_nothing_else(
    browser: Browser, address: str, api: StandIn
) -> None:
    conversation_id = api.add_conversation("Rivers")
    api.add_message(conversation_id, "user", "How does the cache work?")
    api.add_message(conversation_id, "assistant", ANSWER)
    with visit(browser, address, **DESKTOP, permissions=["clipboard-read", "clipboard-write"]) as page:
        page.locator(".entry").hover()
        page.locator(".entry .icon-dots").click()
        page.get_by_text("Share", exact=True).click()
        page.get_by_text("Create link").click()
        page.locator(".share-link .button").click()
        expect(page.locator(".share-link .button")).to_have_text("Copied")
        link = page.evaluate("navigator.clipboard.readText()")
        assert link.startswith(f"{address}/s/")
        keep(page, "share")
        context = browser.new_context(**PHONE)
        other = context.new_page()
        faults: list[str] = []
        other.on("pageerror", lambda error: faults.append(str(error)))
        other.on("console", lambda message: faults.append(message.text))
        other.on(
            "request",
            lambda request: None if request.url.startswith((address, "data:")) else faults.append(request.url),
        )
        other.goto(link)
        expect(other.locator("h1").first).to_have_text("Rivers")
        expect(other.locator(".markdown .math mfrac")).to_have_count(1)
        expect(other.locator(".answer")).to_contain_text("That is all.")
        assert other.evaluate("window.hacked") is None and other.locator("textarea, .markdown img").count() == 0
        assert other.evaluate("document.documentElement.scrollWidth") == 390
        other.get_by_label("Switch between light and dark").click()
        assert other.evaluate("document.documentElement.hasAttribute('data-dark')")
        keep(other, "shared-phone")
        assert not faults
        page.get_by_role("button", name="Revoke").click()
        expect(page.locator(".share-row")).to_have_count(0)
        other.reload()
        expect(other.locator("h1")).to_have_text("This conversation is no longer available")
        context.close()


def test_a_visitor_signs_in_asks_and_signs_out_in_all_tabs(browser: Browser, guarded: str, api: StandIn) -> None:
    context = browser.new_context(**DESKTOP)
    page, other = context.new_page(), context.new_page()
    page.goto(f"{guarded}/c/conv_unknown")
    expect(page.get_by_label("Username")).to_be_focused()
    keep(page, "sign-in")
    sign_in(page, "sk-wrong")
    expect(page.get_by_role("alert")).to_have_text("The service does not recognize this key.")
    keep(page, "sign-in-wrong")
    sign_in(page)
    expect(page).to_have_url(f"{guarded}/c/conv_unknown")
    page.locator(".new-chat").click()
    page.locator(".prompt").first.click()
    expect(page.locator(".answer .markdown")).to_contain_text("I am a stand-in.")
    other.goto(guarded)
    expect(other.locator(".entry-link")).to_have_count(1)
    kept = json.dumps([context.cookies(), context.storage_state(), page.content()])
    assert KEY not in kept and all(cookie.get("httpOnly") for cookie in context.cookies())
    assert page.evaluate("document.cookie") == ""
    page.locator(".account").click()
    page.get_by_text("Sign out").click()
    for tab in (page, other):
        expect(tab.get_by_label("API key")).to_be_visible()
    other.goto(guarded)
    expect(other.get_by_label("API key")).to_be_visible()
    context.close()


def test_a_new_user_chooses_a_password_and_stays_signed_in(browser: Browser, guarded: str, api: StandIn) -> None:
    api.users["ann"] = User("given by the boss", must_change=True)
    context = browser.new_context(**PHONE)
    page = context.new_page()
    page.goto(guarded)
    page.get_by_label("Username").fill("ann")
    page.get_by_label("Password").fill("given by the bass")
    page.get_by_role("button", name="Sign in", exact=True).click()
    expect(page.get_by_role("alert")).to_have_text("The username or the password is wrong.")
    expect(page.get_by_label("Username")).to_have_value("ann")
    page.get_by_label("Password").fill("given by the boss")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Choose a new password")).to_be_visible()
    keep(page, "new-password-phone")
    page.get_by_label("Current password").fill("given by the boss")
    page.get_by_label("New password").fill("correct horse battery")
    page.get_by_role("button", name="Change the password and sign in").click()
    expect(page.locator(".composer textarea")).to_be_visible()
    page.reload()
    expect(page.locator(".composer textarea")).to_be_visible()
    assert api.users["ann"].password == "correct horse battery"
    context.close()


def test_a_question_survives_the_end_of_its_key(browser: Browser, guarded: str, api: StandIn) -> None:
    context = browser.new_context(**DESKTOP)
    page = context.new_page()
    page.goto(guarded)
    sign_in(page)
    page.wait_for_selector(".status", state="hidden")
    api.keys = {NEW_KEY: "Reader"}
    page.locator(".composer textarea").fill("Do not lose me")
    page.keyboard.press("Enter")
    expect(page.locator(".sign-in-notice")).to_contain_text("your access was revoked")
    sign_in(page, NEW_KEY)
    expect(page.locator(".composer textarea")).to_have_value("Do not lose me")
    page.locator(".composer textarea").press("Enter")
    expect(page.locator(".answer .markdown")).to_contain_text("I am a stand-in.")
    context.close()


def test_a_one_time_link_opens_the_page_in_one_browser(browser: Browser, api: StandIn, tmp_path: Path) -> None:
    """Also through the file that the launcher opens, from which a browser leads to another site's page."""
    links = Links(tmp_path / "state/page")
    with api.served() as api_url, page_process(api_url, tmp_path, CHATLLM_PAGE_SIGN_IN="") as address:
        with visit(browser, address, shows=".sign-in-command", faults_are_expected=True, **PHONE) as page:
            keep(page, "needs-link")
            link = links.create(address)
            page.goto(link)
            expect(page.locator(".composer textarea")).to_be_visible()
            assert page.url == f"{address}/"
            page.locator(".prompt").first.click()
            expect(page.locator(".answer .markdown")).to_contain_text("Hello there!")
        with visit(browser, link, "", shows=".sign-in-wrong", faults_are_expected=True, locale="de-DE") as page:
            expect(page.locator(".sign-in-wrong")).to_have_text(
                "Dieser Link wurde bereits verwendet oder ist abgelaufen."
            )
            (tmp_path / "open.html").write_text(leading_file(links.create(address)))
            page.goto((tmp_path / "open.html").as_uri())
            expect(page.locator(".composer textarea")).to_be_visible()
            page.reload()
            expect(page.locator(".composer textarea")).to_be_visible()
