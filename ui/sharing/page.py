"""`/s/{token}`: a shared conversation, readable by anyone with the link. A page without a socket."""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import AsyncGenerator, Iterable, Iterator
from datetime import UTC, datetime
from html import escape

from nicegui import app
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from ui.api.client import Api
from ui.api.errors import ApiError, duration, explain
from ui.api.schema import SharedConversation, SharedMessage
from ui.files.text_files import without_files
from ui.i18n import language, speaking, t
from ui.markdown.plain_text import plain_text
from ui.markdown.pool import Renderer, RenderPool
from ui.state.rate_limit import Attempts
from ui.static_page import static_page

BURST, EVERY_S = 60, 1.0  # pages from one address
MAX_RENDERED_CHARS = 200_000  # of a page; what follows is shown as plain text, which costs next to nothing
MAX_CACHED_CHARS = 16_000_000  # of pages, so that one that many read is rendered once


class SharedPages:
    """The route, and the pages that have been rendered lately.

    Each request asks the service, so that a revoked link is gone at once; only the rendering
    is kept, by its content. It happens one page at a time, in a process of the pool.
    """

    def __init__(self, api: Api, pool: RenderPool) -> None:
        self._api, self._pool = api, pool
        self._attempts = Attempts(BURST, EVERY_S)
        self._rendering = asyncio.Lock()
        self._rendered: OrderedDict[bytes, str] = OrderedDict()

    def mount(self) -> None:
        """Register the route."""
        app.add_api_route("/s/{token}", self._show, methods=["GET"], response_model=None, include_in_schema=False)

    async def _show(self, request: Request, token: str) -> Response:
        with speaking(request.headers.get("accept-language", "")):
            if wait_s := self._attempts.take(request.client.host if request.client else ""):
                wait = t("Try again in {time}.", time=duration(wait_s))
                return _notice(t("Too many requests"), wait, 429)
            if not token.replace("-", "").replace("_", "").isalnum() or not token.isascii():
                return _gone()
            try:
                shared = await self._api.shared(token)
            except ApiError as error:
                if error.status == 404:
                    return _gone()
                advice = explain(error)
                return _notice(advice.title, t("Please try again in a moment."), 503)
            return static_page(shared.title or t("Conversation"), await self._body(shared))

    async def _body(self, shared: SharedConversation) -> str:
        place = hashlib.sha256(f"{language()} {shared.model_dump_json()}".encode(errors="replace")).digest()
        if place in self._rendered:
            self._rendered.move_to_end(place)
            return self._rendered[place]
        async with self._rendering:
            body = self._rendered.get(place) or await _body(shared, Renderer(self._pool))
        self._rendered[place] = body
        while sum(map(len, self._rendered.values())) > MAX_CACHED_CHARS:
            self._rendered.popitem(last=False)
        return body


async def _body(shared: SharedConversation, renderer: Renderer) -> str:
    made = datetime.fromtimestamp(shared.created_at, UTC)
    date = f'<time datetime="{made:%Y-%m-%dT%H:%M:%SZ}">{made:%Y-%m-%d}</time>'
    about = escape(t("A conversation that was shared on {date}.")).replace("{date}", date)
    cut = f'<p class="note">{escape(t("Earlier messages are not shown."))}</p>' if shared.is_cut else ""
    turns = (
        "".join([turn async for turn in _turns(shared.messages, renderer)])
        or f'<p class="note">{escape(t("It contains no messages."))}</p>'
    )
    label = escape(t("Switch between light and dark"))
    return f"""<div class="shared"><header class="topbar"><div class="brand">
<span class="mark" aria-hidden="true"></span><span class="brand-name">ChatLLM</span></div><div class="gap"></div>
<button type="button" class="icon-button icon-theme" data-act="theme" aria-label="{label}" title="{label}"></button>
</header>
<main class="reading"><h1 class="shared-title" dir="auto">{escape(shared.title or t("Conversation"))}</h1>
<p class="shared-about">{about}</p>{cut}<div class="turns">{turns}</div>
<p class="shared-end">{escape(t("Answers may be incorrect."))}</p></main></div>"""


async def _turns(messages: Iterable[SharedMessage], renderer: Renderer) -> AsyncGenerator[str]:
    left = MAX_RENDERED_CHARS
    for role, content, left_out in _joined(messages):
        missing = t("Attachments not shown: {count}", count=left_out) if left_out else ""
        note = f'<p class="note">{escape(missing)}</p>' if missing else ""
        if role == "user":
            yield f'<div class="turn question"><div class="question-body">{_message_html(content)}{note}</div></div>'
            continue
        left -= len(content)
        rendered = await renderer.render(content) if left >= 0 else plain_text(content)
        label, shown = escape(t("Answer")), f'<div class="markdown">{rendered}</div>'
        yield f'<article class="turn answer" aria-label="{label}">{shown}{note}</article>'


def _joined(messages: Iterable[SharedMessage]) -> Iterator[tuple[str, str, int]]:
    """Yield what was said turn by turn: the pieces of an answer are one, and so is a question that was repeated."""
    role, content, left_out = "", "", 0
    for message in messages:
        if message.role == role == "assistant":
            content, left_out = content + message.text, left_out + message.left_out
            continue
        if role and not (message.role == role and message.text == content):
            yield role, content, left_out
        role, content, left_out = message.role, message.text, message.left_out
    if role:
        yield role, content, left_out


def _message_html(message: str) -> str:
    text, files = without_files(message)
    bubble = f'<div class="bubble" dir="auto">{escape(text)}</div>' if text else ""
    shown = (
        f'<summary dir="auto">{escape(file.name)}</summary><pre dir="auto">{escape(file.text)}</pre>' for file in files
    )
    return bubble + "".join(f'<details class="question-file">{file}</details>' for file in shown)


def _gone() -> HTMLResponse:
    about = t("The link may have expired or been revoked. Ask the person who sent it for a new one.")
    return _notice(t("This conversation is no longer available"), about, 404)


def _notice(title: str, about: str, status: int) -> HTMLResponse:
    body = (
        '<main class="sign-in"><div class="sign-in-card"><div class="sign-in-head">'
        f'<span class="mark large" aria-hidden="true"></span><h1 class="gone">{escape(title)}</h1>'
        f"<p>{escape(about)}</p></div></div></main>"
    )
    return static_page(title, body, status)
