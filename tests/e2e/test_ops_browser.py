"""/ops in a real browser, in front of a service that tells made-up figures."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.e2e.chromium import DESKTOP, PHONE, keep, visit
from tests.e2e.test_accessibility import faults
from tests.ui.operated import ADMIN_KEY, Operated, error, operated
from tests.ui.stand_in import StandIn

pytestmark = pytest.mark.browser
FORM = ".ops-access input"


@pytest.fixture
def admin(api: StandIn) -> Operated:
    return operated(api)


@contextmanager
def let_in(browser: Browser, address: str, **options: Any) -> Iterator[Page]:
    with visit(browser, address, "/ops", shows=FORM, **options) as page:
        page.locator(FORM).fill(ADMIN_KEY)
        page.keyboard.press("Enter")
        expect(page.locator(".chart")).to_have_count(8)
        expect(page.locator(".column").first).to_be_attached()
        yield page


def test_figures_are_live_and_can_be_pointed_at(browser: Browser, address: str, admin: Operated) -> None:
    with let_in(browser, address, **DESKTOP, timezone_id="Asia/Tokyo") as page:
        assert ADMIN_KEY not in page.content()
        admin.errors.insert(0, error(0, 500, "internal_error"))
        first = page.locator("[aria-label='Recent errors'] tbody tr").first
        expect(first).to_contain_text("internal_error")
        at = datetime.fromtimestamp(admin.errors[0]["at"], ZoneInfo("Asia/Tokyo"))
        expect(first).to_contain_text(f"{at:%H:%M:%S}")
        plot = page.locator(".plot").first
        plot.scroll_into_view_if_needed()
        plot.hover()
        expect(page.locator(".chart-tip")).to_contain_text("Answered:")
        keep(page, "ops-light")
        page.mouse.move(5, 5)
        expect(page.locator(".chart-tip")).to_be_hidden()
        page.locator(".chart-table summary").first.click()
        expect(page.locator(".chart").first.locator("tbody tr")).to_have_count(60)


@pytest.mark.parametrize("way", ["submit", "click"])
def test_a_form_filled_and_submitted_while_the_page_connects_is_not_lost(
    browser: Browser, address: str, admin: Operated, way: str
) -> None:
    with visit(browser, address, "/ops", shows=FORM, **DESKTOP) as page:
        page.wait_for_function("window.did_handshake")
        page.evaluate("window.did_handshake = false")
        page.locator(FORM).fill(ADMIN_KEY)
        page.evaluate(
            """([form, way]) => {
              window.did_handshake = true;  // what was typed is told within the next 10 ms, this at once
              if (way == "submit") document.querySelector(form).form.requestSubmit();
              else document.querySelector(".ops-access button").click();
            }""",
            [FORM, way],
        )
        expect(page.locator(".chart")).to_have_count(8)


def test_on_a_phone_the_state_and_all_buttons_share_the_second_line(
    browser: Browser, address: str, admin: Operated
) -> None:
    with let_in(browser, address, **PHONE) as page:
        page.evaluate("document.querySelector('.ops-head a.button').classList.remove('hidden')")
        expect(page.locator(".ops-head a.button")).to_be_visible()
        boxes = [page.locator(".ops-head > .button, .ops-head .live-note").nth(at).bounding_box() for at in range(3)]
        middles = [box["y"] + box["height"] / 2 for box in boxes if box]
        assert len(middles) == 3 and max(middles) - min(middles) < 10
        keep(page, "ops-phone")


@pytest.mark.parametrize("width", [1440, 1280, 1000])
def test_the_charts_leave_no_hole(browser: Browser, address: str, admin: Operated, width: int) -> None:
    with let_in(browser, address, viewport={"width": width, "height": 800}) as page:
        boxes = [box for chart in page.locator(".chart").all() if (box := chart.bounding_box())]
        last = max(box["y"] for box in boxes)
        ends = [max(box["x"] + box["width"] for box in boxes if box["y"] == y) for y in {box["y"] for box in boxes}]
        assert max(ends) - min(ends) < 1
        assert len([box for box in boxes if box["y"] == last]) == 2


def test_nothing_is_asked_for_behind_another_tab(browser: Browser, address: str, admin: Operated) -> None:
    with let_in(browser, address, **DESKTOP) as page:
        _hide(page, True)
        expect(page.locator(".live-note")).to_have_text("Paused")
        asked = admin.asked
        page.wait_for_timeout(4_000)
        assert admin.asked == asked
        _hide(page, False)
        expect(page.locator(".live-note")).to_contain_text("Live")
        assert admin.asked > asked


def _hide(page: Page, is_hidden: bool) -> None:
    page.evaluate(
        """(hidden) => {
          Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
          document.dispatchEvent(new Event("visibilitychange"));
        }""",
        is_hidden,
    )


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_everybody_can_read_it(browser: Browser, address: str, admin: Operated, theme: Any) -> None:
    with visit(browser, address, "/ops", shows=FORM, **DESKTOP, color_scheme=theme, bypass_csp=True) as page:
        assert faults(page) == []
    with let_in(browser, address, **DESKTOP, color_scheme=theme, bypass_csp=True) as page:
        expect(page.locator("[aria-label='Keys'] tbody tr")).to_have_count(3)
        page.locator(".chart-table summary").first.click()
        expect(page.locator(".chart-table tbody tr").first).to_be_attached()
        assert faults(page) == []
        keep(page, f"ops-whole-{theme}")


def test_a_phone_shows_one_column(browser: Browser, address: str, admin: Operated) -> None:
    with let_in(browser, address, **PHONE, locale="de-DE") as page:
        expect(page.locator(".chart-title").first).to_have_text("Anfragen pro Sekunde")
        assert page.evaluate("document.querySelector('.ops').scrollWidth") == 390
        charts = [chart.bounding_box() for chart in page.locator(".chart").all()]
        assert len({box["x"] for box in charts if box}) == 1
        keep(page, "ops-phone")
