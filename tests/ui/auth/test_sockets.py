"""Whose pages a socket may speak to, tried with bare sockets against the page's own process."""

import json
import re
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from urllib.parse import urlencode

import httpx
import pytest
from websockets.sync.client import ClientConnection, connect

from tests.ui.process import page_process
from tests.ui.stand_in import KEY, StandIn

OTHER = "sk-of-bob"


@pytest.fixture(scope="module")
def api() -> StandIn:
    return StandIn()


@pytest.fixture(scope="module")
def address(api: StandIn, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    api.keys[OTHER] = "Bob"
    with (
        api.served() as api_url,
        page_process(api_url, tmp_path_factory.mktemp("page"), CHATLLM_PAGE_SIGN_IN="1") as address,
    ):
        yield address


class Visitor:
    """A browser that has signed in and opened a page."""

    def __init__(self, address: str, key: str) -> None:
        self.address = address
        with httpx.Client(base_url=address, timeout=10) as http:
            signed_in = http.post("/sign-in", data={"key": key}, headers={"origin": address})
            self.cookie = signed_in.headers["set-cookie"].split(";")[0]
            page = http.get("/").text
        found = re.search(r"'client_id': '([0-9a-f-]+)'", page)
        button = re.search(r'"(\d+)":\{"tag":"button","class":\["account"\].*?"listener_id":"([^"]+)"', page)
        assert found and button
        self.page = found[1]
        self.click = {"client_id": self.page, "id": int(button[1]), "listener_id": button[2], "args": []}
        """The message of a click on the menu of the key."""

    @contextmanager
    def socket(self, page: str, cookie: str | None = None, origin: str = "") -> Generator[ClientConnection]:
        """Open a socket as NiceGUI's script does, and say that it belongs to `page`."""
        query = {"EIO": "4", "transport": "websocket", "tab_id": "1", "document_id": "1", "next_message_id": "0"}
        if page:
            query |= {"client_id": page, "implicit_handshake": "true"}
        url = f"{self.address.replace('http', 'ws')}/_nicegui_ws/socket.io/?{urlencode(query)}"
        headers = {"Cookie": self.cookie if cookie is None else cookie, "Origin": origin or self.address}
        with connect(url, additional_headers=headers) as socket:
            assert str(socket.recv(5)).startswith("0")
            socket.send("40")
            yield socket


def reply(socket: ClientConnection) -> str:
    """Return the next message but for the transport's own."""
    while (said := str(socket.recv(5))) == "2":
        socket.send("3")
    return said


def test_a_socket_is_heard_by_the_page_of_its_own_session(address: str) -> None:
    ann = Visitor(address, KEY)
    with ann.socket(ann.page) as socket:
        assert reply(socket).startswith("40{")


@pytest.mark.parametrize("cookie", ["bob's", "", "chatllm=made-up"])
def test_a_page_does_not_open_to_a_socket_of_another_session(address: str, cookie: str) -> None:
    ann, bob = Visitor(address, KEY), Visitor(address, OTHER)
    with bob.socket(ann.page, bob.cookie if cookie == "bob's" else cookie) as socket:
        refusal = reply(socket)
        # The words to which NiceGUI's script reloads the page, which leads to the sign-in.
        assert refusal.startswith("44") and "Implicit handshake failed" in refusal


def test_a_socket_that_is_let_in_cannot_speak_for_another_page(address: str) -> None:
    ann, bob = Visitor(address, KEY), Visitor(address, OTHER)
    with ann.socket(ann.page) as mine, bob.socket(bob.page) as theirs:
        assert reply(mine).startswith("40{") and reply(theirs).startswith("40{")
        handshake = {"client_id": ann.page, "tab_id": "1", "document_id": "2", "next_message_id": 0}
        theirs.send(f"427{json.dumps(['handshake', handshake])}")
        assert "437[false]" in until_quiet(theirs)
        until_quiet(mine)
        theirs.send(f"42{json.dumps(['event', ann.click])}")
        assert "account-title" not in until_quiet(mine) + until_quiet(theirs)
        mine.send(f"42{json.dumps(['event', ann.click])}")  # which is what a click does otherwise
        assert "account-title" in until_quiet(mine)


def until_quiet(socket: ClientConnection) -> str:
    """Return all that comes until nothing has come for a while."""
    said = ""
    try:
        while True:
            said += str(socket.recv(1.0))
    except TimeoutError:
        return said


def test_a_socket_of_another_site_is_refused(address: str) -> None:
    ann = Visitor(address, KEY)
    with ann.socket(ann.page, origin="https://evil.example") as socket:
        assert reply(socket).startswith("44")


def test_the_sockets_of_a_session_are_closed_when_it_ends(address: str) -> None:
    ann = Visitor(address, KEY)
    with ann.socket(ann.page) as socket, httpx.Client(base_url=address, timeout=10) as http:
        assert reply(socket).startswith("40{")
        headers = {"origin": address, "cookie": ann.cookie}
        http.post("/sign-in", data={"key": KEY}, headers=headers)  # ends the session before it
        heard = []
        while (said := reply(socket)) != "1":  # Engine.IO's packet for the end
            heard.append(said)
        assert [said for said in heard if "chatllm.leave(" in said]
