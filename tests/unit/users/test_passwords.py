"""Hashing and verifying passwords."""

import asyncio
import threading

import pytest

from deployments.errors import BadRequest, Unavailable
from deployments.users.passwords import MAX_WAITING, Passwords
from deployments.users.types import checked_password, checked_username, device_of, new_password

QUICK = Passwords(8, 1)


async def test_a_password_is_verified_by_its_hash() -> None:
    hash_ = await QUICK.hash("correct horse battery")

    assert hash_.startswith("$argon2id$") and "horse" not in hash_
    assert await QUICK.hash("correct horse battery") != hash_, "salted"
    assert await QUICK.verify(hash_, "correct horse battery")
    for wrong in ("correct horse batteri", "", "Correct horse battery"):
        assert not await QUICK.verify(hash_, wrong)


async def test_without_a_hash_nothing_is_right() -> None:
    assert not await QUICK.verify(None, "nobody's")
    assert not await QUICK.verify("no hash at all", "nobody's")


async def test_a_hash_of_other_parameters_is_outdated() -> None:
    hash_ = await QUICK.hash("correct horse battery")

    assert not QUICK.is_outdated(hash_)
    assert Passwords(16, 1).is_outdated(hash_)


async def test_a_flood_is_refused_and_the_event_loop_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    passwords, go_on = Passwords(8, 1), threading.Event()
    monkeypatch.setattr(passwords, "_verify", lambda hash_, password: go_on.wait(10))
    waiting = [asyncio.create_task(passwords.verify(None, "x")) for _ in range(MAX_WAITING)]
    await asyncio.sleep(0)

    with pytest.raises(Unavailable):
        await passwords.verify(None, "x")
    go_on.set()
    assert all(await asyncio.gather(*waiting))
    assert await passwords.verify(None, "x"), "room again"


@pytest.mark.parametrize("text", ["ann", "Ann", "a", "ann.b-c_d+e@example.org", " ann ", "x" * 64])
def test_what_a_username_may_be(text: str) -> None:
    assert checked_username(text) == text.strip().lower()


@pytest.mark.parametrize("text", ["", " ", ".ann", "ann.", "a b", "x" * 65, "änn", "ann\n@x", "sign:in", "a\0b"])
def test_what_a_username_may_not_be(text: str) -> None:
    with pytest.raises(BadRequest):
        checked_username(text)


@pytest.mark.parametrize("text", ["short", "x" * 257, "aaaaaaaaaaaa", "Ann@Example.org"])
def test_what_a_password_may_not_be(text: str) -> None:
    with pytest.raises(BadRequest) as raised:
        checked_password(text, "ann@example.org")
    assert text not in str(raised.value)


def test_a_password_that_is_made_up_may_be_set() -> None:
    made = {checked_password(new_password(), "ann") for _ in range(20)}
    assert len(made) == 20


def test_of_a_browser_only_what_can_be_read_is_kept() -> None:
    assert device_of("Mozilla/5.0\n\x1b[31m (X11)" + "x" * 500).startswith("Mozilla/5.0[31m (X11)xxx")
    assert len(device_of("x" * 500)) == 200
