"""What the tests of the whole share: the product as a user gets it, and a browser in front of the page alone."""

from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.e2e.chromium import launch
from tests.launched import Launched, launched
from tests.ui.process import page_process
from tests.ui.stand_in import StandIn


@pytest.fixture(scope="module")
def product() -> Generator[Launched]:
    """A running product: serve_config.yaml with vLLM and the demo model; loading it takes a minute or two."""
    with launched(None, page=True) as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A headless browser."""
    with sync_playwright() as playwright:
        browser = launch(playwright)
        yield browser
        browser.close()


@pytest.fixture
def api() -> StandIn:
    """A service that does what it is told, not yet reachable."""
    return StandIn()


@pytest.fixture
def address(api: StandIn, tmp_path: Path) -> Iterator[str]:
    """The page's process in front of it."""
    with api.served() as api_url, page_process(api_url, tmp_path) as address:
        yield address
