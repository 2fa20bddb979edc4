"""Debian's Chromium for browser tests; where it is missing they are skipped, or fail if CI requires them."""

import os
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Playwright

CHROMIUM = Path(os.environ.get("CHATLLM_CHROMIUM", "/usr/bin/chromium"))
FLAGS = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--disable-background-networking"]
ARTIFACTS = Path(__file__).parents[2] / "artifacts"


def launch(playwright: Playwright) -> Browser:
    """Return a running headless browser."""
    if not CHROMIUM.exists():
        if os.environ.get("CHATLLM_REQUIRE_BROWSER") == "1":
            pytest.fail(f"There is no Chromium at {CHROMIUM}")
        pytest.skip("needs Chromium")
    return playwright.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
