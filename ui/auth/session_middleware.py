"""Who may ask for what: each request and each socket belongs to a visitor who was let in, or to nobody.

SessionMiddleware           an HTTP request of nobody gets the public pages, the assets, and the way in
guard_sockets  what a browser says over its socket is heard by the pages of its own visitor alone
Entry          how visitors are let in: `SessionEntry` by signing in, `link_entry` by a one-time link
"""

import json
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any, Protocol
from urllib.parse import parse_qs, quote, urlsplit

from nicegui import Client, core, nicegui
from socketio import exceptions
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from ui.auth.sessions import Reason, Session, Sessions

SIGN_IN = "/sign-in"
COOKIE, SECURE_COOKIE = "chatllm", "__Host-chatllm"  # a browser takes the second from this host over https alone
_VISITOR = "chatllm.visitor"  # in the ASGI scope of a request
_PUBLIC = re.compile(r"/sign-in|/open|/s/[^/]+|/favicon\.ico|/assets/.+|/_nicegui_ws/.*|/_nicegui/[\d.]+\w*/.+")
MAX_UPLOAD_BYTES = 17 * 1024 * 1024  # the largest file that any part takes, and the form around it
_UPLOAD = re.compile(r"/_nicegui/client/([^/]+)/upload/\d+")
HEARD = ("connect", "handshake", "event", "javascript_response", "ack", "log")  # what NiceGUI has a handler for
_PAGE = re.compile(r"/(?:[\w-]+(?:/[\w-]+)*)?")


class Visitor(Protocol):
    """Who was let in; pages and sockets are told apart by its identity."""

    @property
    def ended(self) -> object:
        """Not None once the visitor is shut out."""
        ...

    def touch(self) -> None:
        """A request of this visitor has come."""
        ...


class Entry(Protocol):
    """How visitors are let in."""

    def visitor(self, headers: Headers, is_https: bool) -> Visitor | None:
        """Return whom the request comes from, or None if that is nobody."""
        ...

    def refusal(self, scope: Scope) -> ASGIApp:
        """Return the answer to nobody's request for what is not public."""
        ...


class SessionMiddleware:
    """Finds the visitor of each request; without one it shows the way in."""

    def __init__(self, app: ASGIApp, entry: Entry) -> None:
        self._app, self._entry = app, entry

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as the app does, or refuse."""
        if scope["type"] in ("http", "websocket"):
            is_https = scope["scheme"] in ("https", "wss")
            scope[_VISITOR] = visitor = self._entry.visitor(Headers(scope=scope), is_https)
            if scope["type"] == "http":
                if visitor is not None:
                    visitor.touch()
                if (refusal := self._refusal(scope, visitor)) is not None:
                    await refusal(scope, receive, send)
                    return
        await self._app(scope, receive, send)

    def _refusal(self, scope: Scope, visitor: Visitor | None) -> ASGIApp | None:
        path: str = scope["path"]
        if upload := _UPLOAD.fullmatch(path):
            if not _owns(visitor, upload[1]):
                return PlainTextResponse("This is not your page.", 403)
            return None if _is_bounded(Headers(scope=scope)) else PlainTextResponse("This file is too large.", 413)
        return None if visitor is not None or _PUBLIC.fullmatch(path) else self._entry.refusal(scope)


class SessionEntry:
    """Visitors who sign in: their sessions' cookies."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    def visitor(self, headers: Headers, is_https: bool) -> Session | None:
        """Return the session whose cookie the request carries."""
        cookies = cookies_of(headers)
        for name, is_secure in ((SECURE_COOKIE, True), (COOKIE, False)):
            session = self._sessions.find(cookies.get(name, ""))
            # Any page under a sibling host could have set the plain name: a session that began over https is not
            # taken from it, and over https none is, or it could be that of whoever set it.
            if session is not None and session.is_secure == is_secure and (is_secure or not is_https):
                return session
        return None

    def refusal(self, scope: Scope) -> ASGIApp:
        """Lead to the sign-in."""
        if scope["method"] in ("GET", "HEAD"):
            return RedirectResponse(sign_in_address(scope["path"]), 303, {"cache-control": "no-store"})
        return PlainTextResponse("Sign in first.", 401)


async def not_found(request: Request, error: Exception) -> Response:
    """Answer a stranger without a page: NiceGUI would make one for each request, and keep it for a while."""
    if request.scope.get(_VISITOR, _VISITOR) is None:
        return PlainTextResponse("There is nothing here.", 404)
    return await getattr(nicegui, "_exception_handler_404")(request, error)  # noqa: B009 - it is NiceGUI's own


def session_of(scope: Scope) -> Session | None:
    """Return the session of the request, if its visitor has signed in."""
    visitor = scope.get(_VISITOR)
    return visitor if isinstance(visitor, Session) else None


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


def _is_bounded(headers: Headers) -> bool:
    """Whether a body says of itself that it is not too long: the bounds of the parts are kept by browsers alone."""
    length = headers.get("content-length", "")
    return length.isdecimal() and len(length) < 10 and int(length) <= MAX_UPLOAD_BYTES


def _owns(visitor: Visitor | None, client_id: object) -> bool:
    client = Client.instances.get(str(client_id))
    if client is None:
        return False
    return _visitor_of(client.request.scope) is visitor and (visitor is None or visitor.ended is None)


def _visitor_of(scope: Scope) -> Visitor | None:
    return scope.get(_VISITOR)


def cookies_of(headers: Headers) -> dict[str, str]:
    """Read the cookies, among which other pages of the host may have left what the standard library gives up at."""
    pairs = (pair.partition("=") for pair in headers.get("cookie", "").split(";"))
    return {name.strip(): value.strip() for name, _, value in pairs}


# NiceGUI hears an event from any socket that names its page's id. The id cannot be guessed, but it is no
# secret either: it stands in addresses that proxies log. So every message is checked against the visitor
# that its socket was opened by.

Handler = Callable[..., Any]


def guard_sockets(names: Collection[str]) -> None:
    """Let each socket speak to the pages of its own visitor alone; `names` are the page's besides the one asked for.

    May be called again.
    """
    heard = {name: getattr(nicegui, f"_on_{name}") for name in HEARD}

    async def on_connect(sid: str, environ: dict[str, Any], auth: object = None) -> None:
        scope, client_id = environ["asgi.scope"], _client_id(environ)
        if not is_own_origin(Headers(scope=scope), names):
            raise exceptions.ConnectionRefusedError("This is another site's page.")
        if client_id and not _owns(_visitor_of(scope), client_id):
            # In NiceGUI's own words, to which its script reloads the page: it then shows the way in.
            raise exceptions.ConnectionRefusedError("Implicit handshake failed")
        await heard["connect"](sid, environ, auth)

    async def on_handshake(sid: str, data: dict[str, Any]) -> bool:
        return _owns(_visitor_of_socket(sid), data.get("client_id")) and await heard["handshake"](sid, data)

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
    """Return the handler for messages of the page's own visitor; some of them say that its reader is there."""

    def guarded(sid: str, message: dict[str, Any]) -> None:
        visitor = _visitor_of_socket(sid)
        if _owns(visitor, message.get("client_id")):
            if visitor is not None and is_reader:
                visitor.touch()
            handler(sid, message)

    return guarded


def _visitor_of_socket(sid: str) -> Visitor | None:
    environ: dict[str, Any] = core.sio.get_environ(sid) or {}
    return _visitor_of(environ.get("asgi.scope", {}))


def _client_id(environ: Mapping[str, Any]) -> str:
    return parse_qs(environ.get("QUERY_STRING", "")).get("client_id", [""])[0]
