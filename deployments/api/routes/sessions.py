"""`/v1/auth/sessions`: signing in and out. A session's token takes the place of a key in every other request."""

from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from deployments.api.http.replies import JSON
from deployments.api.http.requests import checked, json_object
from deployments.api.schemas.openapi import documented
from deployments.api.services import caller_of, key_of, services_of
from deployments.errors import (
    BadRequest,
    Forbidden,
    HistoryUnavailable,
    NotFound,
    PasswordChangeRequired,
    SignInFailed,
    TooManyRequests,
)
from deployments.keys.authenticator import Caller
from deployments.keys.types import SESSION_PREFIX, hash_of
from deployments.users.types import MAX_PASSWORD, MAX_USERNAME, Session

MAX_BODY_BYTES = 4_096
CURRENT = "current"
PRIVATE = {"cache-control": "no-store"}

router = APIRouter(prefix="/v1/auth/sessions", tags=["sessions"])
CallerOf = Annotated[Caller, Depends(caller_of)]
Text = Annotated[str, msgspec.Meta(max_length=MAX_PASSWORD)]


class NewSession(msgspec.Struct, forbid_unknown_fields=True):
    """Who signs in; an empty body, with a key in the headers, begins a session for that key.

    `new_password` changes the password, and ends the user's other sessions.
    """

    username: Annotated[str, msgspec.Meta(max_length=MAX_USERNAME)] | msgspec.UnsetType = msgspec.UNSET
    password: Text | msgspec.UnsetType = msgspec.UNSET
    new_password: Text | msgspec.UnsetType = msgspec.UNSET


class SessionObject(msgspec.Struct):
    """A session of the user or key `owner`: it ends at `expires_at`, or when it has not been used for a week.

    `token` stands only in the answer that began it, and with it `name`, that of the user or key.
    """

    id: str
    object: Literal["session"]
    owner: str
    device: str
    current: bool
    created_at: int
    used_at: int
    expires_at: int
    name: str | msgspec.UnsetType = msgspec.UNSET
    token: str | msgspec.UnsetType = msgspec.UNSET


class Sessions(msgspec.Struct):
    """All sessions of a user or key, the newest first."""

    object: Literal["list"]
    data: list[SessionObject]


class EndedSession(msgspec.Struct):
    """A session that has ended."""

    id: str
    object: Literal["session.deleted"]
    deleted: bool


@router.post(
    "",
    response_model=None,
    openapi_extra=documented(
        NewSession,
        SessionObject,
        example={"username": "ann", "password": "correct horse battery"},
        errors=(SignInFailed, PasswordChangeRequired, TooManyRequests, HistoryUnavailable),
    ),
)
async def begin_session(request: Request) -> Response:
    """Sign in with a username and password, or with the key of the request's headers.

    A password that an administrator gave must be changed: until the request has a `new_password`, it is refused with
    `password_change_required`.
    """
    body = await json_object(request, MAX_BODY_BYTES)
    checked(body, NewSession, 0)
    services, device = services_of(request), request.headers.get("user-agent", "")
    if body:
        if "username" not in body or "password" not in body:
            raise BadRequest("Give both 'username' and 'password'.", "username")
        user, session, token = await services.sign_in.with_password(
            body["username"], body["password"], device, body.get("new_password")
        )
        name = user.account.name
    else:
        caller = await caller_of(request)
        if _is_session(request):
            raise BadRequest("A session cannot begin another one: sign in with a key, or a username and password.")
        (session, token), name = await services.sign_in.begin(caller.key_id, device), caller.name
    return JSON({**_shown(session, session.id), "name": name, "token": token}, 200, PRIVATE)


@router.get("", response_model=None, openapi_extra=documented(answer=Sessions, errors=(HistoryUnavailable,)))
async def list_sessions(request: Request, caller: CallerOf) -> Response:
    """List the sessions of the user, or of the key, that asks."""
    current = await _current(request)
    sessions = await services_of(request).stores.users.sessions(caller.key_id)
    return JSON({"object": "list", "data": [_shown(session, current) for session in sessions]})


@router.delete(
    "/{session}",
    response_model=None,
    openapi_extra=documented(answer=EndedSession, errors=(Forbidden, NotFound, HistoryUnavailable)),
)
async def end_session(request: Request, session: str, caller: CallerOf) -> Response:
    """End a session; `current` is the one that asks. Every replica refuses it within 5 s."""
    services = services_of(request)
    if session == CURRENT:
        session = await _current(request) or CURRENT
    await services.stores.users.end_session(caller.key_id, session)
    services.authenticator.forget(key_of(request))
    return JSON({"id": session, "object": "session.deleted", "deleted": True})


def _is_session(request: Request) -> bool:
    return key_of(request).startswith(SESSION_PREFIX)


async def _current(request: Request) -> str | None:
    """Return the id of the session whose token the request carries; None for a key."""
    if not _is_session(request):
        return None
    session = await services_of(request).stores.users.session(hash_of(key_of(request)))
    return session.id if session else None


def _shown(session: Session, current: str | None) -> dict[str, Any]:
    return {
        "id": session.id,
        "object": "session",
        "owner": session.key_id,
        "device": session.device,
        "current": session.id == current,
        "created_at": int(session.created_at.timestamp()),
        "used_at": int(session.used_at.timestamp()),
        "expires_at": int(session.expires_at.timestamp()),
    }
