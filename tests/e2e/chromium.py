"""Debian's Chromium for browser tests; where it is missing they are skipped, or fail if CI requires them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Playwright, expect

CHROMIUM = Path(os.environ.get("CHATLLM_CHROMIUM", "/usr/bin/chromium"))
FLAGS = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--disable-background-networking"]
ARTIFACTS = Path(__file__).parents[2] / "artifacts"
DESKTOP: dict[str, Any] = {"viewport": {"width": 1280, "height": 800}}
PHONE: dict[str, Any] = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}

expect.set_options(timeout=15_000)  # that a machine is busy is no fault of the page


def launch(playwright: Playwright) -> Browser:
    """Return a running headless browser."""
    if not CHROMIUM.exists():
        if os.environ.get("CHATLLM_REQUIRE_BROWSER") == "1":
            pytest.fail(f"There is no Chromium at {CHROMIUM}")
        pytest.skip("needs Chromium")
    return playwright.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)


@contextmanager
def visit(
    browser: Browser,
    address: str,
    path: str = "/",
    faults_are_expected: bool = False,
    shows: str = ".composer textarea",
    **options: Any,
) -> Iterator[Page]:
    """Open the page; fails if anything is fetched from elsewhere or, unless it is expected, wrong in the browser."""
    context = browser.new_context(**options)
    page = context.new_page()
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
    page.on("request", lambda request: None if is_ours(request.url, address) else faults.append(request.url))
    try:
        page.goto(address + path)
        expect(page.locator(shows)).to_be_visible()
        yield page
        assert faults_are_expected or not faults, faults
    finally:
        context.close()


def is_ours(url: str, address: str) -> bool:
    return url.startswith((address, address.replace("http", "ws", 1), "data:", "blob:"))


def keep(page: Page, name: str) -> None:
    ARTIFACTS.mkdir(exist_ok=True)
    page.screenshot(path=ARTIFACTS / f"page-{name}.png")
