"""What the tests of the whole share: a browser, and the page alone for it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.e2e.chromium import launch
from tests.ui.process import page_process
from tests.ui.stand_in import StandIn


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A headless browser."""
    with sync_playwright() as playwright:
        browser = launch(playwright)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def page_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[StandIn, str]]:
    """A stand-in service and the page's process in front of it, started once for the stories of a module."""
    api = StandIn()
    with api.served() as api_url, page_process(api_url, tmp_path_factory.mktemp("page")) as address:
        yield api, address


@pytest.fixture
def warm_api(page_server: tuple[StandIn, str]) -> StandIn:
    """The running stand-in as if it were new: `api` for stories that change neither its models nor its keys."""
    page_server[0].reset()
    return page_server[0]


@pytest.fixture
def warm_address(warm_api: StandIn, page_server: tuple[StandIn, str]) -> str:
    """The address of the running page: `address` without the seconds that a process takes to start."""
    return page_server[1]


@pytest.fixture
def api() -> StandIn:
    """A service that does what it is told, not yet reachable."""
    return StandIn()


@pytest.fixture
def address(api: StandIn, tmp_path: Path) -> Iterator[str]:
    """The page's process in front of it."""
    with api.served() as api_url, page_process(api_url, tmp_path) as address:
        yield address
