"""Who may ask for what where visitors sign in: each request and each socket belongs to a session, or to nobody.

Gate           an HTTP request without a session gets the sign-in, the public pages and the assets
guard_sockets  what a browser says over its socket is heard by the pages of its own session alone
"""

import json
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

from nicegui import Client, core, nicegui
from socketio import exceptions
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from ui.sessions import Reason, Session, Sessions

SIGN_IN = "/sign-in"
COOKIE, SECURE_COOKIE = "chatllm", "__Host-chatllm"  # a browser takes the second from this host over https alone
_SESSION = "chatllm.session"  # in the ASGI scope of a request
_PUBLIC = re.compile(r"/sign-in|/s/[^/]+|/favicon\.ico|/assets/.+|/_nicegui_ws/.*|/_nicegui/[\d.]+\w*/.+")
MAX_UPLOAD_BYTES = 17 * 1024 * 1024  # the largest file that any part takes, and the form around it
_UPLOAD = re.compile(r"/_nicegui/client/([^/]+)/upload/\d+")
HEARD = ("connect", "handshake", "event", "javascript_response", "ack", "log")  # what NiceGUI has a handler for
_PAGE = re.compile(r"/(?:[\w-]+(?:/[\w-]+)*)?")


class Gate:
    """Finds the session of each request; without one it leads to the sign-in."""

    def __init__(self, app: ASGIApp, sessions: Sessions) -> None:
        self._app, self._sessions = app, sessions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as the app does, or ask for a key."""
        if scope["type"] in ("http", "websocket"):
            scope[_SESSION] = session = self._session(Headers(scope=scope), scope["scheme"] in ("https", "wss"))
            if scope["type"] == "http":
                if session is not None:
                    session.touch()
                if (refusal := _refusal(scope, session)) is not None:
                    await refusal(scope, receive, send)
                    return
        await self._app(scope, receive, send)

    def _session(self, headers: Headers, is_https: bool) -> Session | None:
        cookies = _cookies(headers.get("cookie", ""))
        for name, is_secure in ((SECURE_COOKIE, True), (COOKIE, False)):
            session = self._sessions.find(cookies.get(name, ""))
            # Any page under a sibling host could have set the plain name: a session that began over https is not
            # taken from it, and over https none is, or it could be that of whoever set it.
            if session is not None and session.is_secure == is_secure and (is_secure or not is_https):
                return session
        return None


async def not_found(request: Request, error: Exception) -> Response:
    """Answer a stranger without a page: NiceGUI would make one for each request, and keep it for a while."""
    if request.scope.get(_SESSION, _SESSION) is None:
        return PlainTextResponse("There is nothing here.", 404)
    return await getattr(nicegui, "_exception_handler_404")(request, error)  # noqa: B009 - it is NiceGUI's own


def session_of(scope: Scope) -> Session | None:
    """Return the session of the request, if it has one."""
    return scope.get(_SESSION)


def sign_in_address(path: str, reason: Reason | None = None) -> str:
    """Return where to sign in, and then to go on to `path`."""
    why = f"&why={reason}" if reason else ""
    return f"{SIGN_IN}?next={quote(safe_path(path))}{why}"


def leaving(path: str, reason: Reason, unsent: str = "") -> str:
    """Return the JavaScript by which the page at `path`, whose session has ended, leaves for the form.

    What its reader was writing stays as a draft, with `unsent` before it; nothing does once they have signed out.
    """
    stays = reason != "out"
    told = sign_in_address(path, reason), stays, unsent if stays else ""
    return f"chatllm.leave({', '.join(map(json.dumps, told))})"


def safe_path(path: str) -> str:
    """Return `path` if it is a page of this origin, else the first page."""
    return path if _PAGE.fullmatch(path) else "/"


def is_own_origin(headers: Headers, names: Collection[str]) -> bool:
    """Whether a browser says that the page which asks is this one, under the name asked for or one of `names`."""
    try:
        origin = urlsplit(headers.get("origin", ""))
    except ValueError:  # it has a bracket that does not close
        return False
    return bool(origin.netloc) and (origin.netloc == headers.get("host") or origin.hostname in names)


def _refusal(scope: Scope, session: Session | None) -> ASGIApp | None:
    path: str = scope["path"]
    if upload := _UPLOAD.fullmatch(path):
        if not _owns(session, upload[1]):
            return PlainTextResponse("This is not your page.", 403)
        return None if _is_bounded(Headers(scope=scope)) else PlainTextResponse("This file is too large.", 413)
    if session is not None or _PUBLIC.fullmatch(path):
        return None
    if scope["method"] in ("GET", "HEAD"):
        return RedirectResponse(sign_in_address(path), 303, {"cache-control": "no-store"})
    return PlainTextResponse("Sign in first.", 401)


def _is_bounded(headers: Headers) -> bool:
    """Whether a body says of itself that it is not too long: the bounds of the parts are kept by browsers alone."""
    length = headers.get("content-length", "")
    return length.isdecimal() and len(length) < 10 and int(length) <= MAX_UPLOAD_BYTES


def _owns(session: Session | None, client_id: object) -> bool:
    client = Client.instances.get(str(client_id))
    if client is None:
        return False
    return session_of(client.request.scope) is session and (session is None or session.ended is None)


def _cookies(header: str) -> dict[str, str]:
    """Read a header in which other pages of the host may have left what the standard library gives up at."""
    pairs = (pair.partition("=") for pair in header.split(";"))
    return {name.strip(): value.strip() for name, _, value in pairs}


# NiceGUI hears an event from any socket that names its page's id. The id cannot be guessed, but it is no
# secret either: it stands in addresses that proxies log. So every message is checked against the session
# that its socket was opened with.

Handler = Callable[..., Any]


def guard_sockets(names: Collection[str]) -> None:
    """Let each socket speak to the pages of its own session alone; `names` are the page's besides the one asked for.

    May be called again.
    """
    heard = {name: getattr(nicegui, f"_on_{name}") for name in HEARD}

    async def on_connect(sid: str, environ: dict[str, Any], auth: object = None) -> None:
        scope, client_id = environ["asgi.scope"], _client_id(environ)
        if not is_own_origin(Headers(scope=scope), names):
            raise exceptions.ConnectionRefusedError("This is another site's page.")
        if client_id and not _owns(session_of(scope), client_id):
            # In NiceGUI's own words, to which its script reloads the page: it then leads to the sign-in.
            raise exceptions.ConnectionRefusedError("Implicit handshake failed")
        await heard["connect"](sid, environ, auth)

    async def on_handshake(sid: str, data: dict[str, Any]) -> bool:
        return _owns(_session_of_socket(sid), data.get("client_id")) and await heard["handshake"](sid, data)

    core.sio.on("connect", on_connect)
    core.sio.on("handshake", on_handshake)
    for name in ("event", "javascript_response", "ack", "log"):
        core.sio.on(name, _guarded(heard[name], is_reader=name == "event"))


async def cut(session: Session) -> None:
    """Close the sockets of a session's pages; a browser that still shows one then asks again, and gets the sign-in."""
    for client in [client for client in Client.instances.values() if session_of(client.request.scope) is session]:
        for _, connection in list(core.sio.manager.get_participants("/", client.id)):
            await core.sio.eio.disconnect(connection)


def _guarded(handler: Handler, *, is_reader: bool) -> Handler:
    """Return the handler for messages of the page's own session; some of them say that its reader is there."""

    def guarded(sid: str, message: dict[str, Any]) -> None:
        session = _session_of_socket(sid)
        if _owns(session, message.get("client_id")):
            if session is not None and is_reader:
                session.touch()
            handler(sid, message)

    return guarded


def _session_of_socket(sid: str) -> Session | None:
    environ: dict[str, Any] = core.sio.get_environ(sid) or {}
    return session_of(environ.get("asgi.scope", {}))


def _client_id(environ: Mapping[str, Any]) -> str:
    return parse_qs(environ.get("QUERY_STRING", "")).get("client_id", [""])[0]
