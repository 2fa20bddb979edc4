"""The chat page in front of the real product, in a real browser."""

import re
import time

import httpx
import pytest
from playwright.sync_api import Browser, expect

from tests.e2e.chromium import ARTIFACTS
from tests.launched import Launched

pytestmark = [pytest.mark.slow, pytest.mark.browser, pytest.mark.timeout(600)]


def client(product: Launched) -> httpx.Client:
    """Return a client with the page's own key."""
    key = (product.folder / "state" / "api.key").read_text().strip()
    return httpx.Client(base_url=product.url, headers={"authorization": f"Bearer {key}"}, timeout=60)


def test_one_click_gives_an_answer_that_is_kept(product: Launched, browser: Browser) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    page.goto(product.page_link())
    page.get_by_text("What is ChatLLM?", exact=True).first.click()
    expect(page).to_have_url(re.compile("/c/conv_"), timeout=30_000)
    answer = page.locator(".answer").last
    expect(answer).to_contain_text("ChatLLM", timeout=60_000)
    expect(page.get_by_role("button", name="Copy").last).to_be_visible(timeout=60_000)
    ARTIFACTS.mkdir(exist_ok=True)
    page.screenshot(path=ARTIFACTS / "product.png")
    said = answer.inner_text()
    page.reload()
    expect(page.locator(".answer").last).to_contain_text(said[:20], timeout=30_000)
    conversation_id = page.url.rpartition("/")[2]
    page.close()
    with client(product) as http:
        for _ in range(100):  # the page shows an answer before it is stored
            items = http.get(f"/v1/conversations/{conversation_id}/items?order=asc").json()["data"]
            if len(items) > 1:
                break
            time.sleep(0.2)
    assert [item["role"] for item in items] == ["user", "assistant"]


def test_the_page_shows_what_the_api_keeps(product: Launched, browser: Browser) -> None:
    with client(product) as http:
        conversation_id = http.post("/v1/conversations", json={}).raise_for_status().json()["id"]
        request = {"model": "guide", "input": "How does the cache work?", "conversation": conversation_id}
        response = http.post("/v1/responses", json=request).raise_for_status().json()
    said = re.sub("[*`]", "", response["output"][-1]["content"][0]["text"])  # as it is shown
    page = browser.new_page()
    page.goto(product.page_link())
    page.goto(f"{product.page}/c/{conversation_id}")
    expect(page.locator(".bubble").first).to_have_text("How does the cache work?", timeout=30_000)
    expect(page.locator(".answer").last).to_contain_text(said[:20], timeout=30_000)
    page.close()
