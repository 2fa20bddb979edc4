"""Who opens the page of a machine that others use too: browsers that followed a one-time link, and nobody else."""

import os
import re
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from websockets.sync.client import connect

from tests.ui.auth.test_sockets import reply
from tests.ui.process import free_port, start_page
from tests.ui.stand_in import KEY, StandIn
from ui.auth.links import BROWSER_S, LINK_S, Links

TITLE = "A plan for one pair of eyes"


@pytest.fixture(scope="module")
def api() -> StandIn:
    return StandIn()


@pytest.fixture(scope="module")
def path(api: StandIn) -> str:
    """The path of a conversation that says `TITLE`."""
    conversation_id = api.add_conversation("Plans")
    api.add_message(conversation_id, "user", TITLE)
    return f"/c/{conversation_id}"


class Process:
    """The page as `python -m ui` serves it by default, its output in a file."""

    def __init__(self, api_url: str, folder: Path) -> None:
        self._api_url, self.folder, self._port = api_url, folder, free_port()
        self.address = f"http://127.0.0.1:{self._port}"
        self.links = Links(folder / "state" / "page")

    def start(self) -> None:
        self._process: subprocess.Popen[bytes] = start_page(
            self._api_url, self.folder, self._port, CHATLLM_PAGE_SIGN_IN=""
        )

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(15)

    def link(self) -> str:
        return self.links.create(self.address)

    def browser(self, **headers: str) -> httpx.Client:
        return httpx.Client(base_url=self.address, timeout=10, headers=headers)


@pytest.fixture(scope="module")
def page(api: StandIn, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    with api.served() as api_url:
        page = Process(api_url, tmp_path_factory.mktemp("page"))
        page.start()
        yield page
        page.stop()


@pytest.fixture
def stranger(page: Process) -> Iterator[httpx.Client]:
    with page.browser() as browser:
        yield browser


@pytest.fixture
def owner(page: Process) -> Iterator[httpx.Client]:
    """A browser that has followed a link."""
    with page.browser() as browser:
        assert browser.get(page.link()).status_code == 303
        yield browser


def shows(browser: httpx.Client, path: str) -> bool:
    """Whether the conversation is in the page, which a busy machine may leave for later."""
    deadline = time.monotonic() + 30
    while TITLE not in browser.get(path).raise_for_status().text:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    return True


def client_of(html: str) -> str:
    found = re.search(r"'client_id': '([0-9a-f-]+)'", html)
    assert found
    return found[1]


@pytest.mark.parametrize(
    "address", ["/", "its conversation", "/compare", "/compare/conv_1", "/ops", "/nothing", "/open"]
)
@pytest.mark.parametrize("cookie", ["", "made-up", "x" * 43])
def test_a_stranger_sees_how_to_get_in_and_nothing_else(
    page: Process, stranger: httpx.Client, path: str, address: str, cookie: str
) -> None:
    address = path if address == "its conversation" else address
    name = f"chatllm-{page.address.rpartition(':')[2]}"
    answer = stranger.get(address, headers={"cookie": f"{name}={cookie}"} if cookie else {})
    assert answer.status_code == 403 and "make link" in answer.text
    assert TITLE not in answer.text and KEY not in answer.text and "client_id" not in answer.text


def test_a_stranger_reads_that_in_their_language(stranger: httpx.Client) -> None:
    assert "mit einem Link öffnen" in stranger.get("/", headers={"accept-language": "de"}).text


def test_a_link_opens_the_page_and_leaves_its_address(page: Process, stranger: httpx.Client, path: str) -> None:
    answer = stranger.get(page.link())
    assert answer.status_code == 303 and answer.headers["location"] == "/"
    assert answer.headers["referrer-policy"] == "no-referrer" and answer.headers["cache-control"] == "no-store"
    cookie = answer.headers["set-cookie"]
    for said in ("HttpOnly", "SameSite=lax", "Path=/", f"Max-Age={BROWSER_S:.0f}"):
        assert said in cookie
    assert "Secure" not in cookie
    assert shows(stranger, path)


def test_over_https_the_cookie_is_for_this_host_over_https_alone(page: Process) -> None:
    with page.browser(**{"x-forwarded-proto": "https"}) as browser:
        cookie = browser.get(page.link()).headers["set-cookie"]
        assert cookie.startswith("__Host-chatllm-") and "Secure" in cookie
        token = cookie.partition("=")[2].partition(";")[0]
        port = page.address.rpartition(":")[2]
        assert browser.get("/", headers={"cookie": f"chatllm-{port}={token}"}).status_code == 403
        assert browser.get("/", headers={"cookie": f"__Host-chatllm-{port}={token}"}).status_code == 200


def test_a_used_link_works_in_the_browser_that_used_it_alone(page: Process, stranger: httpx.Client) -> None:
    link = page.link()
    with page.browser() as first:
        assert first.get(link).status_code == first.get(link).status_code == 303
    answer = stranger.get(link)
    assert answer.status_code == 403 and "already been used" in answer.text
    assert stranger.get("/").status_code == 403


def test_asking_for_a_link_s_head_does_not_use_it_up(page: Process, stranger: httpx.Client) -> None:
    link = page.link()
    stranger.head(link)
    assert stranger.get(link).status_code == 303


@pytest.mark.parametrize(
    ("kind", "lifetime_s", "opens"),
    [
        ("links", LINK_S - 30, True),
        ("links", LINK_S + 30, False),
        ("browsers", BROWSER_S - 30, True),
        ("browsers", BROWSER_S + 30, False),
        ("browsers", -3600, False),
    ],
)
def test_links_and_cookies_expire(tmp_path: Path, kind: str, lifetime_s: float, opens: bool) -> None:
    links = Links(tmp_path / "page")
    link = links.create("").partition("=")[2]
    cookie = "" if kind == "links" else links.follow(link) or ""
    for path in (tmp_path / "page" / kind).iterdir():
        os.utime(path, (time.time() - lifetime_s,) * 2)
    assert (links.follow(link) is not None if kind == "links" else links.knows(cookie)) is opens
    links.create("")
    links.follow(links.create("").partition("=")[2])
    assert len(list((tmp_path / "page/links").iterdir())) <= 2, "what has expired is swept"


def test_of_many_who_follow_a_link_at_once_one_gets_in(tmp_path: Path) -> None:
    links = Links(tmp_path)
    for _ in range(20):
        link = links.create("").partition("=")[2]
        with ThreadPoolExecutor(8) as pool:
            cookies = list(pool.map(links.follow, [link] * 8))
        assert sum(cookie is not None for cookie in cookies) == 1


def test_what_is_kept_lets_nobody_in_and_is_closed_to_others(page: Process, owner: httpx.Client) -> None:
    page.link()
    folder = page.links.folder
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    kept = [path for path in folder.rglob("*") if path.is_file()]
    assert {path.parent.name for path in kept} == {"links", "browsers"}
    with page.browser() as thief:
        for path in kept:
            assert path.read_bytes() == b"" and stat.S_IMODE(path.stat().st_mode) == 0o600
            assert thief.get("/open", params={"link": path.name}).status_code == 403
            port = page.address.rpartition(":")[2]
            assert thief.get("/", headers={"cookie": f"chatllm-{port}={path.name}"}).status_code == 403


def test_a_cookie_outlives_the_page_s_process_and_a_used_link_does_not_come_back(
    page: Process, stranger: httpx.Client, path: str
) -> None:
    link = page.link()
    with page.browser() as browser:
        browser.get(link)
        page.stop()
        page.start()
        assert shows(browser, path)
    assert stranger.get(link).status_code == 403


def test_a_new_link_replaces_the_cookie_of_the_browser_that_follows_it(page: Process, owner: httpx.Client) -> None:
    before = dict(owner.cookies)
    owner.get(page.link())
    assert owner.get("/").status_code == 200
    owner.cookies.clear()
    assert owner.get("/", headers={"cookie": "; ".join(f"{k}={v}" for k, v in before.items())}).status_code == 403


@pytest.mark.parametrize(
    "request_",
    [
        lambda http, client: http.post(f"/_nicegui/client/{client}/upload/1", files={"file": b"x"}),
        lambda http, client: http.post("/"),
        lambda http, client: http.get(f"/_nicegui/client/{client}/upload/1"),
        lambda http, client: http.get("/_nicegui/auto/static/1/file"),
        lambda http, client: http.get("/docs"),
        lambda http, client: http.get("/openapi.json"),
    ],
)
def test_no_other_address_lets_a_stranger_in(
    stranger: httpx.Client, owner: httpx.Client, request_: Callable[[httpx.Client, str], httpx.Response]
) -> None:
    assert request_(stranger, client_of(owner.get("/").text)).status_code == 403


@pytest.mark.parametrize("path", ["/s/a-link-that-was-shared", "/favicon.ico"])
def test_shared_conversations_and_assets_stay_public(stranger: httpx.Client, path: str) -> None:
    assert "make link" not in stranger.get(path).text


@pytest.mark.parametrize("is_owner", [True, False])
def test_a_socket_needs_the_cookie_too(page: Process, owner: httpx.Client, is_owner: bool) -> None:
    client = client_of(owner.get("/").text)
    query = f"EIO=4&transport=websocket&client_id={client}&implicit_handshake=true&tab_id=1&document_id=1"
    url = f"{page.address.replace('http', 'ws')}/_nicegui_ws/socket.io/?{query}&next_message_id=0"
    headers = {"Origin": page.address}
    if is_owner:
        headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in owner.cookies.items())
    with connect(url, additional_headers=headers) as socket:
        assert str(socket.recv(5)).startswith("0")
        socket.send("40")
        answer = reply(socket)
        assert answer.startswith("40{") if is_owner else "Implicit handshake failed" in answer


def test_a_stranger_s_socket_says_nothing_to_an_open_page(page: Process, owner: httpx.Client) -> None:
    client = client_of(owner.get("/").text)
    query = "EIO=4&transport=websocket&tab_id=1&document_id=1&next_message_id=0"
    url = f"{page.address.replace('http', 'ws')}/_nicegui_ws/socket.io/?{query}"
    with connect(url, additional_headers={"Origin": page.address}) as socket:
        assert str(socket.recv(5)).startswith("0")
        socket.send("40")
        assert reply(socket).startswith("40{")
        handshake = f'{{"client_id":"{client}","tab_id":"1","document_id":"2","next_message_id":0}}'
        socket.send(f'420["handshake",{handshake}]')
        assert reply(socket) == "430[false]"
