"""The comparison of two models in a real browser: by keyboard, on a phone, in both themes."""

import pytest
from playwright.sync_api import Browser, expect

from tests.e2e.chromium import DESKTOP, PHONE, keep, visit
from tests.ui.stand_in import StandIn

pytestmark = pytest.mark.browser

ANSWER = """A reverse proxy stands **in front of** other servers and passes requests on.

1. It ends TLS in one place.
2. It spreads the load.

```nginx
proxy_pass http://backend;
```

That is all."""


@pytest.fixture
def api() -> StandIn:
    api = StandIn()
    api.behaviour.models = {"qwen3-0.6b": "ready", "qwen3-4b": "ready"}
    api.behaviour.answer = ANSWER
    return api


def test_two_models_are_compared_and_one_is_kept_with_the_keyboard(
    browser: Browser, address: str, api: StandIn
) -> None:
    api.behaviour.hold_after = 8
    with visit(browser, address, **DESKTOP, color_scheme="light") as page:
        page.wait_for_selector(".status", state="hidden")
        page.keyboard.press("Alt+v")
        expect(page).to_have_url(f"{address}/compare")
        expect(page.locator(".side .model")).to_have_text(["qwen3-0.6b", "qwen3-4b"])
        expect(page.locator(".composer textarea")).to_be_focused()
        keep(page, "compare-empty-light")
        page.keyboard.type("What is a reverse proxy?")
        page.keyboard.press("Enter")
        expect(page.locator(".side .markdown")).to_contain_text(["in front of", "in front of"])
        assert api.seen.running == 2
        keep(page, "compare-growing-light")
        expect(page).to_have_url(f"{address}/compare/{next(iter(api.conversations))}")
        page.reload()  # both are found again
        api.go_on.set()
        expect(page.locator(".side .markdown")).to_contain_text(["That is all.", "That is all."])
        left, right = (page.locator(".side").nth(at).bounding_box() for at in (0, 1))
        assert left and right and left["y"] == right["y"] and left["x"] + left["width"] < right["x"]
        keep(page, "compare-light")
        page.get_by_role("button", name="Keep this answer").last.focus()
        page.keyboard.press("Enter")
        expect(page).to_have_url(f"{address}/c/{next(iter(api.conversations))}")
        expect(page.locator(".answer .markdown")).to_contain_text("That is all.")
        expect(page.locator(".answer .pager-place")).to_contain_text("/2")
        expect(page.locator(".topbar .model")).to_have_text("qwen3-4b")


def test_escape_stops_both_and_dark_is_dark(browser: Browser, address: str, api: StandIn) -> None:
    api.behaviour.hold_after = 8
    with visit(browser, address, "/compare", **DESKTOP, color_scheme="dark") as page:
        page.wait_for_selector(".status", state="hidden")
        page.locator(".composer textarea").fill("What is a reverse proxy?")
        page.keyboard.press("Enter")
        expect(page.locator(".side .markdown")).to_contain_text(["in front of", "in front of"])
        page.keyboard.press("Escape")
        expect(page.locator(".side .note")).to_have_text(["You stopped this answer."] * 2)
        assert api.seen.cancelled == 2 and not api.seen.running
        keep(page, "compare-dark")


def test_on_a_phone_the_answers_stand_one_above_the_other(browser: Browser, address: str, api: StandIn) -> None:
    with visit(browser, address, **PHONE) as page:
        page.get_by_label("Compare two models").click()
        page.wait_for_selector(".status", state="hidden")
        page.locator(".composer textarea").fill("What is a reverse proxy?")
        page.get_by_label("Send").click()
        expect(page.locator(".side .markdown")).to_contain_text(["That is all.", "That is all."])
        upper, lower = (page.locator(".side").nth(at).bounding_box() for at in (0, 1))
        assert upper and lower and upper["x"] == lower["x"] and upper["y"] + upper["height"] < lower["y"]
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        page.evaluate("document.getElementById('scroll').scrollTop = 0")
        page.wait_for_timeout(200)
        keep(page, "compare-phone")
