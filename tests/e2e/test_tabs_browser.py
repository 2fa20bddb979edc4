"""A reload and a second tab, in a real browser."""

import pytest
from playwright.sync_api import Browser, expect

from tests.e2e.chromium import DESKTOP, visit
from tests.ui.stand_in import StandIn

pytestmark = pytest.mark.browser


def test_a_reload_keeps_what_the_tab_showed_and_a_second_tab_learns_what_is_done(
    browser: Browser, warm_address: str, warm_api: StandIn
) -> None:
    id_ = warm_api.add_conversation("Branches")
    question = warm_api.add_message(id_, "user", "Q")
    walked = warm_api.add_message(id_, "assistant", "The first answer", "incomplete", parent=question)
    warm_api.items[id_][-1]["incomplete_details"] = {"reason": "max_output_tokens"}
    warm_api.add_message(id_, "assistant", "The second answer", parent=question)
    with visit(browser, warm_address, f"/c/{id_}", **DESKTOP) as page:
        expect(page.locator(".markdown")).to_have_text("The second answer")
        page.locator(".answer").get_by_label("Previous version").click()
        expect(page).to_have_url(f"{warm_address}/c/{id_}?branch={walked}")
        page.reload()
        expect(page.locator(".markdown")).to_have_text("The first answer")
        expect(page.locator(".note")).to_have_text("The answer reached its length limit.")
        expect(page).to_have_title("Branches")
        expect(page).to_have_url(f"{warm_address}/c/{id_}?branch={walked}")

        second = page.context.new_page()
        second.goto(f"{warm_address}/c/{id_}")
        expect(second.locator(".markdown")).to_have_text("The second answer")
        expect(second).to_have_title("Branches")
        page.get_by_role("button", name="Chat options").click()
        page.get_by_role("menuitem", name="Rename").click()
        page.locator(".q-dialog input").fill("Renamed")
        page.keyboard.press("Enter")
        expect(second).to_have_title("Renamed")
        expect(second.locator(".entry-link")).to_have_text("Renamed")
        page.get_by_role("button", name="Chat options").click()
        page.get_by_role("menuitem", name="Delete").click()
        expect(second.get_by_role("alert")).to_contain_text("This chat was deleted")
        expect(second.locator(".entry-link")).to_have_count(0)
