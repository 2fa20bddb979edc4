"""`/v1/admin/keys`: making and changing API keys; only a key that is itself an administrator's may."""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal, cast

import msgspec
from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from deployments.api.http.replies import JSON
from deployments.api.http.requests import checked, json_object
from deployments.api.pages import page_object
from deployments.api.schemas.openapi import documented
from deployments.api.services import caller_of, services_of
from deployments.errors import Conflict, Forbidden, HistoryUnavailable
from deployments.keys.authenticator import Caller
from deployments.keys.store import no_key
from deployments.keys.types import (
    ANY_NUMBER,
    ID_PREFIX,
    LIMIT_NAMES,
    MAX_LIMIT,
    MAX_NAME,
    MAX_WEIGHT,
    Key,
    KeyChanges,
    KeyLimits,
    State,
)
from deployments.queueing.job import Priority

MAX_BODY_BYTES = 65_536
MAX_TIME_S = 253_402_300_799  # the end of the year 9999
ERRORS = (Forbidden, HistoryUnavailable)
UNLIMITED = "unlimited"

Count = Annotated[int, msgspec.Meta(ge=1, le=MAX_LIMIT)] | None
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_NAME)]


class LimitsBody(msgspec.Struct, forbid_unknown_fields=True):
    """A key's limits; what is absent stays, null takes a limit away.

    `concurrent_requests` counts the answers that are generated at once: a request for `n` answers to each of
    several prompts counts as all of these. With null the configuration's default holds, with "unlimited" none.
    `open_batches`, `batch_lines` (of one batch) and `file_bytes` replace the configuration's bounds.
    """

    requests_per_minute: Count = None
    tokens_per_minute: Count = None
    concurrent_requests: Count | Literal["unlimited"] = None
    tokens_per_month: Count = None
    storage_bytes: Count = None
    open_batches: Count = None
    batch_lines: Count = None
    file_bytes: Count = None


Weight = Annotated[int, msgspec.Meta(ge=1, le=MAX_WEIGHT)] | None


class KeySettings(msgspec.Struct, forbid_unknown_fields=True):
    """What may be set of a key, beside its name; `expires_at` is in Unix seconds, null for never.

    While a model is busy, keys share it in proportion to `weight` (1 if null); with the `priority` "batch" a key has
    only what others leave.
    """

    admin: bool | msgspec.UnsetType = msgspec.UNSET
    disabled: bool | msgspec.UnsetType = msgspec.UNSET
    expires_at: Annotated[int, msgspec.Meta(ge=0, le=MAX_TIME_S)] | None = None
    limits: LimitsBody | None = None
    weight: Weight = None
    priority: Priority | None = None


class NewKey(KeySettings, kw_only=True):
    """A key to make."""

    name: Name


class UpdateKey(KeySettings, kw_only=True):
    """What is to change of a key; what is absent stays."""

    name: Name | msgspec.UnsetType = msgspec.UNSET


class APIKey(msgspec.Struct):
    """A key; `secret` stands only in the answer that made it."""

    id: str
    object: Literal["api_key"]
    name: str
    last4: str
    status: State
    admin: bool
    disabled: bool
    created_at: int
    expires_at: int | None
    revoked_at: int | None
    limits: LimitsBody
    weight: int
    priority: Priority
    secret: str | msgspec.UnsetType = msgspec.UNSET


class Keys(msgspec.Struct):
    """A page of keys; `last_id` goes into `after` of the next."""

    object: Literal["list"]
    data: list[APIKey]
    first_id: str | None
    last_id: str | None
    has_more: bool


class Revoked(msgspec.Struct):
    """A key that opens nothing any more."""

    id: str
    object: Literal["api_key.deleted"]
    deleted: bool


async def admin_of(request: Request) -> Caller:
    """Return who asks; raises Forbidden unless it is an administrator."""
    caller = await caller_of(request)
    if not caller.is_admin:
        raise Forbidden("Only an administrator's key may do this.")
    return caller


router = APIRouter(prefix="/v1/admin/keys", tags=["admin"], dependencies=[Depends(admin_of)])


@router.post(
    "",
    response_model=None,
    openapi_extra=documented(
        NewKey,
        APIKey,
        example={"name": "robot", "limits": {"requests_per_minute": 60}},
        errors=(*ERRORS, Conflict),
    ),
)
async def create_key(request: Request) -> Response:
    """Make a key; its `secret` is in this answer and cannot be read again."""
    body = await _body(request, NewKey)
    key, secret = await services_of(request).stores.keys.create(body["name"], changes_of(body))
    return JSON({**_shown(key), "secret": secret}, 200, {"cache-control": "no-store"})


@router.get("", response_model=None, openapi_extra=documented(answer=Keys, errors=ERRORS))
async def list_keys(
    request: Request, limit: Annotated[int, Query(ge=1, le=100)] = 20, after: str | None = None
) -> Response:
    """List all keys, revoked ones too, oldest first."""
    page = await services_of(request).stores.keys.page(after, limit)
    return JSON(page_object(page, [_shown(key) for key in page.data]))


@router.get("/{key}", response_model=None, openapi_extra=documented(answer=APIKey, errors=ERRORS))
async def retrieve_key(request: Request, key: str) -> Response:
    """Return one key."""
    return JSON(_shown(await services_of(request).stores.keys.retrieve(_id(key))))


@router.post(
    "/{key}",
    response_model=None,
    openapi_extra=documented(UpdateKey, APIKey, example={"disabled": True}, errors=(*ERRORS, Conflict)),
)
async def update_key(request: Request, key: str) -> Response:
    """Change what is given of a key; it holds on every replica within 5 s."""
    changes = changes_of(await _body(request, UpdateKey))
    return JSON(_shown(await services_of(request).stores.keys.update(_id(key), changes)))


@router.delete("/{key}", response_model=None, openapi_extra=documented(answer=Revoked, errors=ERRORS))
async def revoke_key(request: Request, key: str) -> Response:
    """Revoke a key permanently; it holds on every replica within 5 s."""
    revoked = await services_of(request).stores.keys.revoke(_id(key))
    return JSON({"id": revoked.id, "object": "api_key.deleted", "deleted": True})


async def _body(request: Request, schema: type[Any]) -> dict[str, Any]:
    body = await json_object(request, min(MAX_BODY_BYTES, services_of(request).settings.limits.max_body_bytes))
    checked(body, schema, 0)
    return body


def _id(key: str) -> str:
    """Return the id of a path: here a key is not found by its name."""
    if not key.startswith(ID_PREFIX):
        raise no_key(key)
    return key


def changes_of(body: dict[str, Any]) -> KeyChanges:
    """Return what a well-formed body sets of a key, or of a user's account."""
    changes: dict[str, Any] = dict(body.get("limits") or {})
    if changes.get("concurrent_requests") == UNLIMITED:
        changes["concurrent_requests"] = ANY_NUMBER
    if "name" in body:
        changes["name"] = body["name"]
    if "admin" in body:
        changes["is_admin"] = body["admin"]
    if "disabled" in body:
        changes["disabled_at"] = datetime.now(UTC) if body["disabled"] else None
    if "expires_at" in body:
        expires_at = body["expires_at"]
        changes["expires_at"] = None if expires_at is None else datetime.fromtimestamp(expires_at, UTC)
    changes |= {name: body[name] for name in ("weight", "priority") if name in body}
    return cast("KeyChanges", changes)


def _shown(key: Key) -> dict[str, Any]:
    own = {"id": key.id, "object": "api_key", "last4": key.last4, "revoked_at": _seconds(key.revoked_at)}
    return own | settings_of(key)


def settings_of(key: Key) -> dict[str, Any]:
    """Return what may be set of a key or of a user's account, and its state."""
    return {
        "name": key.name,
        "status": key.state,
        "admin": key.is_admin,
        "disabled": key.disabled_at is not None,
        "created_at": int(key.created_at.timestamp()),
        "expires_at": _seconds(key.expires_at),
        "limits": _limits(key.limits),
        "weight": key.weight or 1,
        "priority": key.priority or "interactive",
    }


def _limits(limits: KeyLimits) -> dict[str, Any]:
    at_once = limits.concurrent_requests
    own = {name: getattr(limits, name) for name in LIMIT_NAMES}
    return {**own, "concurrent_requests": UNLIMITED if at_once == ANY_NUMBER else at_once}


def _seconds(moment: datetime | None) -> int | None:
    return None if moment is None else int(moment.timestamp())
