"""Arabic and Hebrew are laid out from the right wherever they stand; code and English from the left."""

import pytest
from playwright.sync_api import Browser, Locator, expect

from tests.e2e.chromium import keep
from tests.e2e.test_dialogs_browser import ready
from tests.ui.stand_in import StandIn

pytestmark = pytest.mark.browser

QUESTION = "ما هو أطول نهر في العالم؟\nAnd in English?"
ANSWER = """# نهر النيل

النيل هو أطول نهر (6650 km).

- `nile.py` يحسب الطول
- مصر

> اقتباس

| النهر | Length |
|---|---|
| النيل | 6650 km |

```python
length = 6650  # النيل
```

In English it is the Nile."""

# On which side the first line of a text begins, as it is drawn.
SIDE = """(one) => {
  const range = document.createRange();
  range.selectNodeContents(one);
  const [line] = range.getClientRects(), box = one.getBoundingClientRect();
  return Math.abs(line.left - box.left) < Math.abs(box.right - line.right) ? "left" : "right";
}"""


def side(of: Locator) -> str:
    return of.evaluate(SIDE)


def direction(of: Locator) -> str:
    return of.evaluate("(one) => getComputedStyle(one).direction")


def test_each_block_goes_its_own_way(browser: Browser, warm_address: str, warm_api: StandIn) -> None:
    warm_api.behaviour.answer = ANSWER
    with ready(browser, warm_address) as page:
        composer = page.locator(".composer textarea")
        composer.fill("שלום")
        assert direction(composer) == "rtl"
        composer.fill(QUESTION)
        page.keyboard.press("Enter")
        answer = page.locator(".answer:not(.live) .markdown")
        expect(answer).to_contain_text("it is the Nile.")
        assert direction(page.locator(".bubble")) == "rtl"
        for shown in range(2):  # as it was written, then as it is shared
            for css in ("h1", "p >> nth=0", "td >> nth=0", "th >> nth=0", "blockquote p"):
                assert side(answer.locator(css)) == "right", css
            for css in ("td >> nth=1", ".code code", "p >> nth=-1"):
                assert side(answer.locator(css)) == "left", css
            holders = {"ul": "rtl", "blockquote": "rtl", "table": "rtl", ".code": "ltr", "li code": "ltr"}
            for css, expected in holders.items():
                assert direction(answer.locator(css)) == expected, css
            keep(page, f"rtl-{shown}")
            if shown:
                break
            assert direction(page.locator(".entry-link")) == "rtl"
            page.get_by_role("button", name="Chat options").click()
            page.locator(".q-menu").get_by_text("Share").click()
            page.get_by_role("dialog").get_by_text("Create link").click()
            page.goto(page.get_by_role("dialog").get_by_label("Link", exact=True).input_value())
            answer = page.locator(".answer .markdown")
            assert direction(page.locator(".shared-title")) == "rtl"
