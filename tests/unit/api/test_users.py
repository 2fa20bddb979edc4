"""Users and their sessions over HTTP."""

import asyncio
from typing import Any

import httpx
import pytest

from deployments.api.metering import SIGN_INS_PER_MINUTE
from tests.unit.api.conftest import Service

USERS, SESSIONS = "/v1/admin/users", "/v1/auth/sessions"
PASSWORD = "correct horse battery"
CHAT = {"messages": [{"role": "user", "content": "hello big world"}]}
NOBODY = {"authorization": ""}

Headers = dict[str, str]


@pytest.fixture
async def admin(service: Service) -> Headers:
    """The headers of an administrator's key."""
    _, secret = await service.keys.create("admin", {"is_admin": True})
    return bearer(secret)


def bearer(token: str) -> Headers:
    return {"authorization": f"Bearer {token}"}


async def create(service: Service, by: Headers, username: str = "ann", **body: Any) -> dict[str, Any]:
    response = await service.http.post(USERS, json={"username": username, **body}, headers=by)
    assert response.status_code == 200, response.text
    return response.json()


async def sign_in(service: Service, username: str = "ann", password: str = PASSWORD, **more: str) -> httpx.Response:
    body = {"username": username, "password": password, **more}
    return await service.http.post(SESSIONS, json=body, headers={**NOBODY, "user-agent": "Firefox"})


async def signed_in(service: Service, by: Headers, username: str = "ann", **settings: Any) -> Headers:
    """Return the headers of a new user's session."""
    user = await create(service, by, username, **settings)
    response = await sign_in(service, username, user["password"], new_password=PASSWORD)
    assert response.status_code == 200, response.text
    return bearer(response.json()["token"])


def code(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["error"]["code"]


async def test_a_new_user_signs_in_with_the_given_password_and_must_change_it(service: Service, admin: Headers) -> None:
    user = await create(service, admin, name="Ann Example")
    assert (user["object"], user["username"], user["name"], user["status"]) == ("user", "ann", "Ann Example", "valid")
    given = user.pop("password")

    assert code(await sign_in(service, "ann", given)) == (403, "password_change_required")
    assert code(await sign_in(service, "ann", given, new_password="short")) == (400, "invalid_request")
    assert code(await sign_in(service, "ann", given, new_password=given)) == (400, "invalid_request")
    response = await sign_in(service, "ANN", given, new_password=PASSWORD)
    assert response.status_code == 200
    assert response.headers["cache-control"] == "no-store"
    session = response.json()
    assert (session["object"], session["name"], session["device"]) == ("session", "Ann Example", "Firefox")
    assert (await sign_in(service)).status_code == 200
    assert code(await sign_in(service, "ann", given)) == (401, "sign_in_failed")
    shown = (await service.http.get(f"{USERS}/{user['id']}", headers=admin)).json()
    assert shown == user | {"must_change_password": False}


async def test_a_session_does_what_a_key_does(service: Service, admin: Headers) -> None:
    ann = await signed_in(service, admin, limits={"requests_per_minute": 5})

    answer = await service.http.post("/v1/chat/completions", json=CHAT, headers=ann)
    assert answer.status_code == 200
    assert answer.headers["x-ratelimit-limit-requests"] == "5"
    me = (await service.http.get("/v1/me", headers=ann)).json()
    assert (me["object"], me["username"], me["admin"]) == ("user", "ann", False)
    assert me["limits"]["requests_per_minute"] == 5
    usage = (await service.http.get("/v1/usage", headers=ann)).json()
    assert usage["data"] is not None
    conversation = (await service.http.post("/v1/conversations", json={}, headers=ann)).json()
    bob = await signed_in(service, admin, "bob")
    for headers in (bob, admin):
        response = await service.http.get(f"/v1/conversations/{conversation['id']}", headers=headers)
        assert response.status_code == 404
    assert code(await service.http.get(USERS, headers=ann)) == (403, "permission_denied")


async def test_all_sessions_of_a_user_see_the_same(service: Service, admin: Headers) -> None:
    ann = await signed_in(service, admin)
    conversation = (await service.http.post("/v1/conversations", json={}, headers=ann)).json()
    other = bearer((await sign_in(service)).json()["token"])

    assert (await service.http.get(f"/v1/conversations/{conversation['id']}", headers=other)).status_code == 200


async def test_an_administrator_is_one_by_session_as_well(service: Service, admin: Headers) -> None:
    root = await signed_in(service, admin, "root", admin=True)

    assert (await service.http.get(USERS, headers=root)).status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        {"username": "ann", "password": "wrong horse battery"},
        {"username": "nobody", "password": PASSWORD},
        {"username": "../etc", "password": PASSWORD},
        {"username": "ann", "password": ""},
    ],
)
async def test_nothing_tells_a_wrong_username_from_a_wrong_password(
    service: Service, admin: Headers, body: dict[str, str]
) -> None:
    await signed_in(service, admin)

    response = await service.http.post(SESSIONS, json=body, headers=NOBODY)
    assert code(response) == (401, "sign_in_failed")
    assert response.json()["error"]["message"] == "The username or the password is wrong."


@pytest.mark.parametrize(
    "body", [{"username": "ann"}, {"password": PASSWORD}, {"username": 1, "password": PASSWORD}, {"user": "ann"}]
)
async def test_what_is_no_sign_in_is_refused(service: Service, body: dict[str, Any]) -> None:
    assert (await service.http.post(SESSIONS, json=body, headers=NOBODY)).status_code == 400


async def test_guessing_is_bounded_for_a_username_and_hinders_no_other(service: Service, admin: Headers) -> None:
    await signed_in(service, admin)
    bob = await create(service, admin, "bob")

    guesses = await asyncio.gather(*(sign_in(service, "ann", f"guess number {n}") for n in range(12)))
    statuses = sorted(guess.status_code for guess in guesses)
    assert statuses == [401] * (SIGN_INS_PER_MINUTE - 1) + [429] * (13 - SIGN_INS_PER_MINUTE)
    late = await sign_in(service)
    assert late.status_code == 429, "the right password neither: how else would one know that it is"
    assert float(late.headers["retry-after"]) >= 1
    assert code(await sign_in(service, "bob", bob["password"])) == (403, "password_change_required")


async def test_a_disabled_user_is_out_and_cannot_sign_in(service: Service, admin: Headers) -> None:
    user = await create(service, admin)
    ann = bearer((await sign_in(service, "ann", user["password"], new_password=PASSWORD)).json()["token"])

    await service.http.post(f"{USERS}/{user['id']}", json={"disabled": True}, headers=admin)
    assert code(await sign_in(service)) == (401, "sign_in_failed")
    assert "disabled" in (await sign_in(service)).json()["error"]["message"]
    async with asyncio.timeout(10):
        while (await service.http.get("/v1/me", headers=ann)).status_code != 401:
            await asyncio.sleep(0.1)
    await service.http.post(f"{USERS}/{user['id']}", json={"disabled": False}, headers=admin)
    assert (await sign_in(service)).status_code == 200


async def test_a_reset_ends_the_sessions_and_asks_for_a_new_password(service: Service, admin: Headers) -> None:
    user = await create(service, admin)
    ann = bearer((await sign_in(service, "ann", user["password"], new_password=PASSWORD)).json()["token"])

    reset = await service.http.post(f"{USERS}/{user['id']}/password", headers=admin)
    given = reset.json()["password"]
    assert reset.headers["cache-control"] == "no-store" and reset.json()["must_change_password"]
    assert code(await sign_in(service)) == (401, "sign_in_failed")
    assert code(await sign_in(service, "ann", given)) == (403, "password_change_required")
    async with asyncio.timeout(10):
        while (await service.http.get("/v1/me", headers=ann)).status_code != 401:
            await asyncio.sleep(0.1)


async def test_a_session_ends_when_it_is_signed_out_and_no_other(service: Service, admin: Headers) -> None:
    ann = await signed_in(service, admin)
    other = bearer((await sign_in(service)).json()["token"])

    listed = (await service.http.get(SESSIONS, headers=ann)).json()["data"]
    assert [session["current"] for session in listed] == [False, True]
    assert (await service.http.delete(f"{SESSIONS}/current", headers=ann)).status_code == 200
    assert (await service.http.get("/v1/me", headers=ann)).status_code == 401
    (left,) = (await service.http.get(SESSIONS, headers=other)).json()["data"]
    assert left["current"]


async def test_nobody_sees_or_ends_anybody_elses_sessions(service: Service, admin: Headers) -> None:
    ann = await signed_in(service, admin)
    bob = await signed_in(service, admin, "bob")
    (session,) = (await service.http.get(SESSIONS, headers=ann)).json()["data"]

    assert [one["id"] for one in (await service.http.get(SESSIONS, headers=bob)).json()["data"]] != [session["id"]]
    assert (await service.http.delete(f"{SESSIONS}/{session['id']}", headers=bob)).status_code == 404
    assert (await service.http.get("/v1/me", headers=ann)).status_code == 200


async def test_a_key_begins_sessions_that_see_what_it_sees(service: Service) -> None:
    conversation = (await service.http.post("/v1/conversations", json={})).json()
    began = await service.http.post(SESSIONS)
    assert (began.status_code, began.json()["name"]) == (200, "test")
    session = bearer(began.json()["token"])

    assert (await service.http.get(f"/v1/conversations/{conversation['id']}", headers=session)).status_code == 200
    assert (await service.http.get("/v1/me", headers=session)).json()["object"] == "api_key"
    assert (await service.http.post(SESSIONS, headers=session)).status_code == 400, "no session from a session"
    assert (await service.http.post(SESSIONS, headers=NOBODY)).status_code == 401
    assert (await service.http.delete(f"{SESSIONS}/current")).status_code == 404, "a key is no session"


async def test_no_password_and_no_token_is_told_again(service: Service, admin: Headers, caplog: Any) -> None:
    user = await create(service, admin)
    began = await sign_in(service, "ann", user["password"], new_password=PASSWORD)
    token = began.json()["token"]

    everything = [
        (await service.http.get(path, headers=headers)).text
        for path, headers in (
            (USERS, admin),
            (f"{USERS}/{user['id']}", admin),
            (SESSIONS, bearer(token)),
            ("/v1/me", bearer(token)),
        )
    ]
    for secret in (user["password"], PASSWORD, token):
        assert not any(secret in text for text in [*everything, caplog.text])


async def test_usernames_are_unique_whatever_their_case(service: Service, admin: Headers) -> None:
    await create(service, admin)

    for username in ("ann", "ANN"):
        response = await service.http.post(USERS, json={"username": username}, headers=admin)
        assert response.status_code == 409
    bob = await create(service, admin, "bob")
    response = await service.http.post(f"{USERS}/{bob['id']}", json={"username": "Ann"}, headers=admin)
    assert response.status_code == 409


async def test_a_given_password_must_be_changed_as_well(service: Service, admin: Headers) -> None:
    user = await create(service, admin, password="given by the boss")

    assert "password" not in user
    assert code(await sign_in(service, "ann", "given by the boss")) == (403, "password_change_required")
