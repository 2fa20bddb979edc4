"""Nothing of an answer is lost: the page's process in front of the whole HTTP application with a scripted model."""

import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from deployments.config import ScriptedModel
from tests.e2e.chromium import DESKTOP, visit
from tests.integration.serving import Served, served_aside
from tests.ui.process import free_port, start_page

pytestmark = pytest.mark.browser

TOKENS = 60
SLOW = ScriptedModel(id="slow", kind="scripted", tokens=TOKENS, token_ms=100)
QUESTION = "alpha beta gamma"  # the scripted model says it again and again
WHOLE = " ".join([QUESTION] * (TOKENS // 3))


@dataclass
class PageProcess:
    """The page's process, which can die and be started again at the same address."""

    service: Served
    folder: Path
    port: int = field(default_factory=free_port)

    def __post_init__(self) -> None:
        self.start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        self._process = start_page(self.service.url, self.folder, self.port, self.service.key)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait(15)

    def freeze(self, frozen: bool) -> None:
        self._process.send_signal(19 if frozen else 18)  # SIGSTOP, SIGCONT

    def end(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(15)
        except subprocess.TimeoutExpired:
            self.kill()


@pytest.fixture(scope="module")
def service(postgres_url: str, valkey_url: str) -> Iterator[Served]:
    with served_aside(postgres_url, valkey_url, SLOW) as service:
        yield service


@pytest.fixture
def process(service: Served, tmp_path: Path) -> Iterator[PageProcess]:
    process = PageProcess(service, tmp_path)
    yield process
    process.end()


def ask(page: Page) -> None:
    page.wait_for_selector(".status", state="hidden")
    page.locator(".composer textarea").fill(QUESTION)
    page.keyboard.press("Enter")
    expect(page.locator(".answer .markdown")).to_contain_text("alpha beta")


def is_running(service: Served) -> bool:
    headers = {"authorization": f"Bearer {service.key}"}
    return bool(httpx.get(f"{service.url}/v1/models/slow", headers=headers).json()["running"])


def sees_all(page: Page) -> None:
    expect(page.locator(".answer .markdown")).to_have_text(WHOLE, timeout=20_000)
    expect(page.locator(".bubble")).to_have_count(1)
    expect(page.locator(".error-notice").filter(visible=True)).to_have_count(0)


def test_a_killed_page_process_loses_nothing_of_an_answer(browser: Browser, process: PageProcess) -> None:
    with visit(browser, process.address, faults_are_expected=True, **DESKTOP) as page:
        ask(page)
        page.locator(".composer textarea").fill("An unsent draft")
        process.kill()
        assert is_running(process.service), "the engine goes on"
        process.start()
        expect(page.locator(".answer.live .markdown")).to_contain_text(
            "alpha beta", timeout=20_000
        )  # reloaded by itself
        expect(page.locator(".composer textarea")).to_have_value("An unsent draft")
        sees_all(page)


def test_an_answer_that_ended_while_no_page_process_ran_is_there(browser: Browser, process: PageProcess) -> None:
    with visit(browser, process.address, faults_are_expected=True, **DESKTOP) as page:
        ask(page)
        process.kill()
        deadline = time.monotonic() + 30
        while is_running(process.service) and time.monotonic() < deadline:
            time.sleep(0.1)
        process.start()
        sees_all(page)


def test_a_reload_and_a_second_tab_see_the_answer_grow(browser: Browser, process: PageProcess) -> None:
    with visit(browser, process.address, **DESKTOP) as page:
        ask(page)
        page.reload()
        expect(page.locator(".answer.live .markdown")).to_contain_text("alpha beta")
        second = page.context.new_page()
        second.goto(page.url)
        expect(second.locator(".answer.live .markdown")).to_contain_text("alpha beta")
        lengths = [len(second.locator(".answer .markdown").inner_text())]
        while len(lengths) < 4:
            second.wait_for_timeout(300)
            lengths.append(len(second.locator(".answer .markdown").inner_text()))
        assert lengths == sorted(set(lengths)), "it grows, and never shrinks"
        for each in (page, second):
            sees_all(each)


def test_a_browser_without_a_connection_for_seconds_catches_up(browser: Browser, process: PageProcess) -> None:
    with visit(browser, process.address, faults_are_expected=True, **DESKTOP) as page:
        ask(page)
        page.context.set_offline(True)
        process.freeze(True)  # an open socket survives `offline`; nothing comes out of a stopped process
        page.wait_for_timeout(2_000)
        before = page.locator(".answer .markdown").inner_text()
        page.wait_for_timeout(500)
        assert page.locator(".answer .markdown").inner_text() == before
        process.freeze(False)
        page.context.set_offline(False)
        sees_all(page)


def test_stop_reaches_the_engine(browser: Browser, process: PageProcess) -> None:
    with visit(browser, process.address, **DESKTOP) as page:
        ask(page)
        assert is_running(process.service)
        page.keyboard.press("Escape")
        expect(page.locator(".note")).to_have_text("You stopped this answer.")
        assert not is_running(process.service)
        said = page.locator(".answer .markdown").inner_text()
        page.reload()
        expect(page.locator(".answer .markdown")).to_have_text(said)  # what was seen is what is stored
        page.get_by_label("Continue generating").click()
        expect(page.locator(".answer.live .markdown")).to_contain_text(said)
