"""A stand-in service on a real socket, and the page with NiceGUI's simulated users in front of it."""

import asyncio
import gc
import itertools
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx
import pytest
from nicegui import Client, core, ui
from nicegui.functions.download import download
from nicegui.functions.navigate import Navigate
from nicegui.functions.notify import notify
from nicegui.testing import User
from nicegui.testing.general import nicegui_reset_globals

from tests.ui.stand_in import KEY, StandIn
from ui.app import Service
from ui.settings import ApiKey, Settings

PAGES = itertools.count()
IMPORTING_PAGES = 3
"""The first pages import the rest of NiceGUI, which then need not be walked through when a page's garbage is collected:
NiceGUI does so around each test, which took a third of its processor time."""


@pytest.fixture(scope="session")
def any_api() -> StandIn:
    """The service of all tests: to build its routes takes longer than many a test."""
    return StandIn()


@pytest.fixture
def api(any_api: StandIn) -> StandIn:
    """Return the service as if it were new, not yet reachable."""
    any_api.reset()
    return any_api


@pytest.fixture
def api_url(api: StandIn) -> Iterator[str]:
    """Serve the stand-in."""
    with api.served() as url:
        yield url


class Reader(User):
    """A simulated user who knows this page."""

    async def sees(self, content: str, within_s: float = 15.0) -> None:
        """Wait until `content` is shown."""
        await self.should_see(content=content, retries=int(within_s / 0.1))

    async def sees_marked(self, marker: str, within_s: float = 15.0) -> None:
        """Wait until an element of that marker is shown."""
        await self.should_see(marker=marker, retries=int(within_s / 0.1))

    async def sees_not(self, content: str, within_s: float = 15.0) -> None:
        """Wait until `content` is shown no more."""
        await self.should_not_see(content=content, retries=int(within_s / 0.05))

    def writes(self, text: str) -> None:
        """Write a message and press Enter."""
        self.find(marker="composer").trigger("keydown.enter", text)

    def clicks(self, marker: str) -> None:
        """Click what is marked so."""
        self.find(marker=marker).click()

    def submits(self, marker: str) -> None:
        """Submit the form that is marked so, as its button or Enter in a field does."""
        self.find(marker=marker).trigger("submit.prevent").trigger("submit")

    def texts(self, css_class: str) -> list[str]:
        """Return the texts and HTML of all visible elements of a class, in the order of the page."""
        return [
            str(element.props.get("innerHTML", getattr(element, "text", "")))
            for element in self._client.layout.descendants()
            if css_class in element.classes and _is_visible(element)
        ]

    @property
    def page(self) -> Client:
        """The page that is open."""
        return self._client

    def answer(self) -> str:
        """Return the HTML of all answers."""
        return "".join(self.texts("piece"))


def _is_visible(element: ui.element) -> bool:
    return element.visible and all(above.visible for above in element.ancestors())


@dataclass
class Page:
    """The page process under test."""

    new_reader: Callable[[], Reader]
    service: Service


@asynccontextmanager
async def page_for(settings: Settings) -> AsyncIterator[Page]:
    """Run the page's application in this event loop, without a socket of its own."""
    readers: list[Reader] = []

    def new_reader() -> Reader:
        client = httpx.AsyncClient(transport=httpx.ASGITransport(core.app), base_url="http://test")
        readers.append(Reader(client))
        return readers[-1]

    with nicegui_reset_globals(), pytest.MonkeyPatch.context() as patch:
        patch.setenv("NICEGUI_USER_SIMULATION", "true")
        service = Service(settings)
        service.mount()
        ui.run(reload=False, show=False, tailwind=False)
        try:
            async with core.app.router.lifespan_context(core.app):
                yield Page(new_reader, service)
        finally:
            for reader in readers:
                await reader.http_client.aclose()
            ui.navigate, ui.notify, ui.download = Navigate(), notify, download
    if next(PAGES) < IMPORTING_PAGES:
        gc.freeze()


@pytest.fixture
async def page(api_url: str) -> AsyncIterator[Page]:
    """Run the page in front of a service that is up."""
    async with page_for(Settings(api_url, ApiKey(KEY))) as page:
        yield page


@pytest.fixture
def reader(page: Page) -> Reader:
    """Return a reader who has not opened anything yet."""
    return page.new_reader()


async def until(condition: Callable[[], object], within_s: float = 15.0) -> None:
    """Wait until `condition` holds; fails with the time it had."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"not so within {within_s} s"
        await asyncio.sleep(0.02)
