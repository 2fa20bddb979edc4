"""`/v1/admin/users`: the people who sign in; for administrators only."""

from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from deployments.api.admin.keys import KeySettings, LimitsBody, Name, admin_of, changes_of, settings_of
from deployments.api.http.replies import JSON
from deployments.api.http.requests import checked, json_object
from deployments.api.pages import page_object
from deployments.api.schemas.openapi import documented
from deployments.api.services import services_of
from deployments.errors import Conflict, Forbidden, HistoryUnavailable, NotFound
from deployments.keys.types import State
from deployments.queueing.job import Priority
from deployments.users.types import MAX_PASSWORD, MAX_USERNAME, MIN_PASSWORD, User, UserChanges, checked_username

MAX_BODY_BYTES = 65_536
ERRORS = (Forbidden, HistoryUnavailable)
PRIVATE = {"cache-control": "no-store"}

Username = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_USERNAME)]
Password = Annotated[str, msgspec.Meta(min_length=MIN_PASSWORD, max_length=MAX_PASSWORD)]


class NewUser(KeySettings, kw_only=True):
    """A person to let in; settings are as those of a key.

    Without a `password` one is made up. Either must be changed at the first sign-in.
    """

    username: Username
    name: Name | msgspec.UnsetType = msgspec.UNSET
    password: Password | msgspec.UnsetType = msgspec.UNSET


class UpdateUser(KeySettings, kw_only=True):
    """What is to change of a user; what is absent stays."""

    username: Username | msgspec.UnsetType = msgspec.UNSET
    name: Name | msgspec.UnsetType = msgspec.UNSET


class UserObject(msgspec.Struct):
    """A user; `password` stands only in the answer that made it up."""

    id: str
    object: Literal["user"]
    username: str
    name: str
    status: State
    admin: bool
    disabled: bool
    must_change_password: bool
    created_at: int
    expires_at: int | None
    limits: LimitsBody
    weight: int
    priority: Priority
    password: str | msgspec.UnsetType = msgspec.UNSET


class Users(msgspec.Struct):
    """A page of users; `last_id` goes into `after` of the next."""

    object: Literal["list"]
    data: list[UserObject]
    first_id: str | None
    last_id: str | None
    has_more: bool


router = APIRouter(prefix="/v1/admin/users", tags=["admin"], dependencies=[Depends(admin_of)])


@router.post(
    "",
    response_model=None,
    openapi_extra=documented(
        NewUser, UserObject, example={"username": "ann", "name": "Ann Example"}, errors=(*ERRORS, Conflict)
    ),
)
async def create_user(request: Request) -> Response:
    """Create a user. Without `password` in the request, the answer has one, which cannot be read again."""
    body = await _body(request, NewUser)
    services, username, given = services_of(request), checked_username(body["username"]), body.get("password")
    account = changes_of({"name": username} | body)
    password, hash_ = await services.sign_in.hashed(username, given)
    user = await services.stores.users.create(username, hash_, account, must_change=True)
    made_up = {} if given is not None else {"password": password}
    return JSON({**_shown(user), **made_up}, 200, PRIVATE)


@router.get("", response_model=None, openapi_extra=documented(answer=Users, errors=ERRORS))
async def list_users(
    request: Request, limit: Annotated[int, Query(ge=1, le=100)] = 20, after: str | None = None
) -> Response:
    """List all users, oldest first."""
    page = await services_of(request).stores.users.page(after, limit)
    return JSON(page_object(page, [_shown(user) for user in page.data]))


@router.get("/{user}", response_model=None, openapi_extra=documented(answer=UserObject, errors=(*ERRORS, NotFound)))
async def retrieve_user(request: Request, user: str) -> Response:
    """Return one user."""
    return JSON(_shown(await services_of(request).stores.users.retrieve(user)))


@router.post(
    "/{user}",
    response_model=None,
    openapi_extra=documented(UpdateUser, UserObject, example={"disabled": True}, errors=(*ERRORS, NotFound, Conflict)),
)
async def update_user(request: Request, user: str) -> Response:
    """Change what is given of a user; it holds on every replica within 5 s."""
    body = await _body(request, UpdateUser)
    changes: UserChanges = {"username": checked_username(body["username"])} if "username" in body else {}
    return JSON(_shown(await services_of(request).stores.users.update(user, changes, changes_of(body))))


@router.post(
    "/{user}/password",
    response_model=None,
    openapi_extra=documented(answer=UserObject, errors=(*ERRORS, NotFound)),
)
async def reset_password(request: Request, user: str) -> Response:
    """Give a user a new password, which the answer has, and end all of the user's sessions."""
    services = services_of(request)
    password = await services.sign_in.reset(user)
    return JSON({**_shown(await services.stores.users.retrieve(user)), "password": password}, 200, PRIVATE)


async def _body(request: Request, schema: type[Any]) -> dict[str, Any]:
    body = await json_object(request, min(MAX_BODY_BYTES, services_of(request).settings.limits.max_body_bytes))
    checked(body, schema, 0)
    return body


def _shown(user: User) -> dict[str, Any]:
    more = {"must_change_password": user.must_change_password, **settings_of(user.account)}
    return {"id": user.id, "object": "user", "username": user.username, **more}
