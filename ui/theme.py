"""Style sheets and scripts under static/, the icon, and the response headers that block foreign content."""

import base64
import hashlib
from collections.abc import MutableMapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import nicegui
from nicegui import app, ui
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ui.i18n import language

STATIC = Path(__file__).parent / "static"
KATEX = "/assets/katex.js"
STYLES = (
    "tokens.css",
    "icons.css",
    "layout.css",
    "elements.css",
    "reading.css",
    "account.css",
    "share.css",
    "compare.css",
)
SCRIPTS = ("page.js", "focus.js", "menus.js", "files.js")

FAVICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><path fill="#17695b" d="M9 3h14a7 7 0 0 1 7 7v8a7 7 0 '
    '0 1-7 7h-8.5L8 30v-5.1A7 7 0 0 1 2 18v-8a7 7 0 0 1 7-7z"/><path stroke="#fff" stroke-width="2.6" '
    'stroke-linecap="round" d="M9.5 10.5h13M9.5 15h9M9.5 19.5h5"/></svg>'
)

FAVICON_LINK = f'<link rel="icon" href="data:image/svg+xml,{quote(FAVICON)}">'

# Before the first paint, so that a dark page never flashes white.
_THEME = """
  (() => {
    const root = document.documentElement, theme = localStorage.getItem("chatllm-theme") || "auto";
    root.dataset.theme = theme;
    root.toggleAttribute("data-dark",
      theme === "dark" || (theme === "auto" && matchMedia("(prefers-color-scheme: dark)").matches));
  })();
"""
THEME_HASH = base64.b64encode(hashlib.sha256(_THEME.encode()).digest()).decode()

# NiceGUI needs inline scripts and eval; everything else comes from this origin or not at all.
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; font-src 'self' data:; connect-src 'self' ws: wss:; object-src 'none'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = (
    (b"content-security-policy", _POLICY.encode()),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
)


def katex() -> Path | None:
    """Return KaTeX, which NiceGUI ships for its diagrams; None if it no longer does."""
    found = sorted((Path(nicegui.__file__).parent / "elements/mermaid/dist").glob("katex-*.js"))
    return found[0] if found else None


def serve_assets() -> None:
    """Serve static/ with a cache lifetime of a year; a change gives all files a new address."""
    app.add_static_files(f"/assets/{_version()}", STATIC, max_cache_age=31_536_000)
    if (formulas := katex()) is not None:
        app.add_static_file(local_file=formulas, url_path=KATEX, max_cache_age=86_400)


def apply_theme() -> None:
    """Put the styles and the script into the head of the page that is being built."""
    ui.add_head_html(f'{head(SCRIPTS)}<script>document.documentElement.lang = "{language()}";</script>')
    for above in ui.context.client.content.ancestors():  # Quasar's page is a <main>; each page of ours has its own
        if above.tag == "q-page":
            above.tag = "div"
            above.classes("q-page")


def head(scripts: Sequence[str]) -> str:
    """Return what the head of every page has: the styles, and scripts, of which that of `THEME_HASH` is inline."""
    root = f"/assets/{_version()}"
    styles = "".join(f'<link rel="stylesheet" href="{root}/{name}">' for name in STYLES)
    files = "".join(f'<script defer src="{root}/{name}"></script>' for name in scripts)
    return f"<script>{_THEME}</script>{styles}{files}"


def asset(name: str) -> str:
    """Return the address of a file of static/."""
    return f"/assets/{_version()}/{name}"


class SafetyHeaders:
    """Adds the headers above to every HTTP answer that does not have its own."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as the app does."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                _add_headers(message)
            await send(message)

        await self._app(scope, receive, send_with_headers if scope["type"] == "http" else send)


def _add_headers(message: MutableMapping[str, Any]) -> None:
    given = message.get("headers", [])
    names = {name.lower() for name, _ in given}
    message["headers"] = [*given, *(header for header in _HEADERS if header[0] not in names)]


@cache
def _version() -> str:
    content = b"".join(path.read_bytes() for path in sorted(STATIC.iterdir()))
    return hashlib.sha256(content).hexdigest()[:12]
