"""Browsers without a screen: each opens the chat page and speaks NiceGUI's protocol over a bare websocket."""

import asyncio
import contextlib
import html
import itertools
import json
import re
import time
from collections.abc import AsyncGenerator, Callable
from typing import Any
from urllib.parse import urlencode

import httpx
from websockets.asyncio.client import ClientConnection, connect

CONNECT_TIMEOUT_S = 30.0
ACK_EVERY = 100
_ELEMENTS = re.compile(r"parseElements\(String\.raw`(.*?)`\)", re.DOTALL)
_CLIENT = re.compile(r"'client_id': '([0-9a-f-]+)'")

Element = dict[str, Any]


class Browser:
    """One open page: its elements as the server last told them, and ways to use them."""

    def __init__(self, elements: dict[str, Element], client_id: str, socket: ClientConnection) -> None:
        self.elements, self._client_id, self._socket = elements, client_id, socket
        self._next = 0
        self._changed = asyncio.Event()

    @classmethod
    @contextlib.asynccontextmanager
    async def opened(cls, address: str) -> AsyncGenerator["Browser"]:
        """Open the page, and close it as a browser tab does."""
        async with httpx.AsyncClient(timeout=CONNECT_TIMEOUT_S) as http:
            page = (await http.get(address)).text
        elements, client = _ELEMENTS.search(page), _CLIENT.search(page)
        assert elements and client, "this is not the page"
        query = {"EIO": "4", "transport": "websocket", "client_id": client[1], "implicit_handshake": "true"}
        query |= {"tab_id": client[1], "document_id": client[1], "next_message_id": "0"}
        url = f"{address.replace('http', 'ws', 1)}/_nicegui_ws/socket.io/?{urlencode(query)}"
        async with connect(url, origin=address, max_size=None, open_timeout=CONNECT_TIMEOUT_S) as socket:  # type: ignore[arg-type]
            browser = cls(json.loads(html.unescape(elements[1])), client[1], socket)
            await socket.recv()
            await socket.send("40")
            reading = asyncio.create_task(browser._read())
            try:
                await browser.until(lambda: browser.find("status", visible=True) is None)
                yield browser
            finally:
                reading.cancel()

    def find(self, css_class: str = "", label: str = "", *, visible: bool = False) -> str | None:
        """Return the id of the last element of that class or name; `visible` leaves out what is hidden."""
        for id_ in reversed(self.elements):
            element = self.elements[id_]
            classes = element.get("class") or []
            if visible and "hidden" in classes:
                continue
            named = (element.get("props") or {}).get("aria-label"), element.get("text")
            if (css_class and css_class in classes) or (label and label in named):
                return id_
        return None

    async def until(self, condition: Callable[[], object], within_s: float = 60.0) -> None:
        """Wait until what the server has told fulfils a condition."""
        async with asyncio.timeout(within_s):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def emit(self, id_: str, kind: str, *args: object) -> None:
        """Tell the server of an event of an element."""
        listener = next(one for one in self.elements[id_]["events"] if one["type"].partition(".")[0] == kind)
        message = {"id": int(id_), "client_id": self._client_id, "listener_id": listener["listener_id"]}
        await self._send("event", message | {"args": [json.dumps(arg) for arg in args]})

    async def ask(self, question: str) -> None:
        """Write a question and press Enter."""
        composer = self.find(label="Your message")
        assert composer is not None
        await self.emit(composer, "keydown", question)

    async def click(self, label: str, shown: Callable[[], object]) -> float:
        """Click what is named so; returns the seconds until `shown` holds."""
        button = self.find(label=label)
        assert button is not None, f"there is no {label!r}"
        began = time.perf_counter()
        await self.emit(button, "click")
        await self.until(shown)
        return time.perf_counter() - began

    async def _read(self) -> None:
        for number in itertools.count(1):
            frame = str(await self._socket.recv())
            if frame == "2":
                await self._socket.send("3")
            elif frame.startswith("42"):
                self._take(*json.loads(frame[2:]))
                if number % ACK_EVERY == 0:
                    await self._send("ack", {"client_id": self._client_id, "next_message_id": self._next})

    def _take(self, kind: str, message: dict[str, Any]) -> None:
        self._next = int(message.pop("_id", self._next - 1)) + 1
        if kind == "update":
            for id_, element in message.items():
                self.elements.pop(id_, None)
                if element is not None:
                    self.elements[id_] = element
        self._changed.set()

    async def _send(self, kind: str, message: dict[str, Any]) -> None:
        await self._socket.send("42" + json.dumps([kind, message]))
