"""Renders untrusted text to inert HTML in bounded time, outside the event loop.

RenderPool     child processes that render, and a cache of recent results; one per page process
Renderer       the pool as one account uses it: one complete text and one streaming text at a time, and
               a pause after several timeouts, so that no account blocks the others

What takes too long is shown as plain text.
"""

import asyncio
import hashlib
import itertools
import logging
import sys
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from ui.i18n import t
from ui.markdown.plain_text import MAX_MARKDOWN_CHARS, plain_text
from ui.state.rate_limit import Attempts
from ui.state.tasks import Tasks

MAX_HTML_CHARS = 3_000_000
MAX_KEPT_CHARS = 16_000_000
MAX_PROCESSES = 3
ANSWER_TIMEOUT_S = 15.0  # the process limits itself to a second of CPU; this is for one that gets no CPU
FAULTS_AT_ONCE, FAULT_EVERY_S = 3, 20.0  # of one account, before its texts are shown as plain text
_NUMBERS = itertools.count()
_ROOT = Path(__file__).parents[2]

logger = logging.getLogger(__name__)


class RenderFault(Exception):
    """A text took more time or memory than it may."""


@dataclass(frozen=True, slots=True)
class Increment:
    """The newly settled HTML of a streaming text, and the HTML of its tail."""

    settled: str
    tail: str


class RenderPool:
    """Starts processes on demand and replaces those that a text has ended."""

    def __init__(self) -> None:
        self._idle: list[asyncio.subprocess.Process] = []
        self._all: set[asyncio.subprocess.Process] = set()
        self._places = asyncio.Semaphore(MAX_PROCESSES)
        self._kept: OrderedDict[bytes, str] = OrderedDict()
        self._kept_chars = 0

    async def ask(self, request: dict[str, Any]) -> Any:
        """Return a process's result. Raises `RenderFault`; cancellation ends the process."""
        async with self._places, self._process() as process:
            assert process.stdin is not None and process.stdout is not None
            body = orjson.dumps(request)
            try:
                async with asyncio.timeout(ANSWER_TIMEOUT_S):
                    process.stdin.write(len(body).to_bytes(4) + body)
                    await process.stdin.drain()
                    size = int.from_bytes(await process.stdout.readexactly(4))
                    answer = orjson.loads(await process.stdout.readexactly(size))
            except (TimeoutError, asyncio.IncompleteReadError, ConnectionError) as error:
                raise RenderFault from error
        if answer is None:
            raise RenderFault
        return answer

    async def warm_up(self) -> None:
        """Start the first process ahead of the first request."""
        with suppress(RenderFault, OSError):
            await self.ask(_request("render", ""))

    async def aclose(self) -> None:
        """End the processes; their pending requests raise `RenderFault`."""
        self._idle.clear()
        while self._all:
            await _end(self._all.pop())

    def known(self, place: bytes) -> str | None:
        """Return cached HTML."""
        if place in self._kept:
            self._kept.move_to_end(place)
        return self._kept.get(place)

    def keep(self, place: bytes, html: str) -> None:
        """Cache HTML."""
        self._kept_chars += len(html) - len(self._kept.pop(place, ""))
        self._kept[place] = html
        while self._kept_chars > MAX_KEPT_CHARS:
            self._kept_chars -= len(self._kept.popitem(last=False)[1])

    @asynccontextmanager
    async def _process(self) -> AsyncGenerator[asyncio.subprocess.Process]:
        process = self._idle.pop() if self._idle else await _start()
        self._all.add(process)
        try:
            yield process
        except BaseException:
            self._all.discard(process)
            await _end(process)
            raise
        if process in self._all:
            self._idle.append(process)


class Renderer:
    """The pool for one account, which sees only its own cached results."""

    def __init__(self, pool: RenderPool) -> None:
        self._pool = pool
        self._number = next(_NUMBERS)
        self._tasks = Tasks()
        self._turn = asyncio.Lock()
        self._growing_turn = asyncio.Lock()  # a streaming answer does not wait for a long conversation to render
        self._faults = Attempts(FAULTS_AT_ONCE, FAULT_EVERY_S)
        self._tired_until = 0.0

    def known(self, text: str) -> str | None:
        """Return the cached HTML of a text, or its plain text if it is too long."""
        return plain_text(text) if len(text) > MAX_MARKDOWN_CHARS else self._pool.known(self._place(text))

    async def render(self, text: str) -> str:
        """Return inert HTML in the language of the current slot; plain text if rendering takes too long."""
        place, request = self._place(text), _request("render", text)
        async with self._turn:
            if len(text) > MAX_MARKDOWN_CHARS or self._is_tired:
                return plain_text(text)
            if (html := self._pool.known(place)) is None:
                html = await self._bounded(request)
                if html is None or len(html) > MAX_HTML_CHARS:
                    html = plain_text(text)
                self._pool.keep(place, html)
        return html

    async def prepare(self, texts: Iterable[str], within_s: float) -> None:
        """Render texts into the cache one after the other, until `within_s` has passed."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                for text in texts:
                    if self.known(text) is None:
                        await asyncio.shield(self._tasks.start(self.render(text), "render a text"))

    async def grow(self, text: str, finished: int) -> dict[str, Any] | None:
        """Return the fields of `incremental.IncrementalResult`; None if that takes too long."""
        async with self._growing_turn:
            return None if self._is_tired else await self._bounded(_request("grow", text, finished=finished))

    @property
    def _is_tired(self) -> bool:
        return time.monotonic() < self._tired_until

    async def _bounded(self, request: dict[str, Any]) -> Any:
        try:
            return await self._pool.ask(request)
        except (RenderFault, OSError) as fault:
            logger.warning("a text is shown without markup: %s", type(fault).__name__)
            if wait_s := self._faults.take(""):
                self._tired_until = time.monotonic() + wait_s
            return None

    def _place(self, text: str) -> bytes:
        words = f"{self._number} {_labels()}\n{text}"
        return hashlib.sha256(words.encode(errors="replace")).digest()


class IncrementalMarkdown:
    """Turns a streaming text into settled HTML and a tail."""

    def __init__(self, renderer: Renderer) -> None:
        self._renderer = renderer
        self._settled_chars = 0
        self._looked_at = 0
        self._is_plain = False

    async def feed(self, text: str) -> Increment:
        """Take the whole text so far."""
        tail = text[self._settled_chars :]
        finished = text.rfind("\n") + 1
        looks = finished > self._looked_at
        if self._is_plain or len(tail) > MAX_MARKDOWN_CHARS:
            return Increment("", plain_text(tail))
        grown = await self._renderer.grow(tail, finished - self._settled_chars if looks else 0)
        if grown is None:  # the rest would not render in time either
            self._is_plain = True
            return Increment("", plain_text(tail))
        self._looked_at = max(finished, self._looked_at)
        self._settled_chars += grown["settled_chars"]
        return Increment(grown["settled"], grown["tail"])


def _labels() -> dict[str, str]:
    return {
        "copy": t("Copy"),
        "copied": t("Copied"),
        "image": t("Image:"),
        "done": t("Done"),
        "to_do": t("To do"),
        "footnote": t("Footnote"),
        "to_text": t("Back to the reference to footnote"),
    }


def _request(kind: str, text: str, **more: Any) -> dict[str, Any]:
    clean = text.encode(errors="replace").decode()  # JSON cannot encode a lone surrogate
    return {"kind": kind, "text": clean, "labels": _labels(), **more}


async def _start() -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "ui.markdown.process",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        cwd=_ROOT,
        env={"PYTHONPATH": str(_ROOT), "PYTHONSAFEPATH": "1"},
    )


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.stdout is not None and not process.stdout.at_eof():  # else it has ended by itself
        with suppress(ProcessLookupError):
            process.kill()
    await asyncio.shield(process.wait())
