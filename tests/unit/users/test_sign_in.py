"""Signing in while an administrator resets the password."""

import asyncio

import pytest

from deployments.errors import SignInFailed
from deployments.keys.memory import MemoryKeys
from deployments.users.memory import MemoryUsers
from deployments.users.passwords import Passwords
from deployments.users.sign_in import SignIn

OLD, NEW = "correct horse battery", "battery horse correct"


class LatePasswords(Passwords):
    """Hashes and verifies at once; what is right is told once `go_on` is set."""

    def __init__(self, memory_kib: int) -> None:
        super().__init__(memory_kib, 1)
        self.is_right, self.go_on = asyncio.Event(), asyncio.Event()

    async def verify(self, hash_: str | None, password: str) -> bool:
        answer = await super().verify(hash_, password)
        if answer:
            self.is_right.set()
            await self.go_on.wait()
        return answer


@pytest.mark.parametrize("new", [None, NEW])
@pytest.mark.parametrize("memory_kib", [8, 16])
async def test_a_password_that_is_reset_meanwhile_opens_and_changes_nothing(new: str | None, memory_kib: int) -> None:
    users, at_once = MemoryUsers(MemoryKeys()), Passwords(8, 1)
    user = await users.create("ann", await at_once.hash(OLD), {"name": "Ann"}, must_change=False)
    late = LatePasswords(memory_kib)  # with 16 the hash is outdated
    signing_in = asyncio.create_task(SignIn(users, late, lambda _: asyncio.sleep(0)).with_password("ann", OLD, "", new))
    await late.is_right.wait()

    given = await SignIn(users, at_once, lambda _: asyncio.sleep(0)).reset(user.id)
    late.go_on.set()

    with pytest.raises(SignInFailed):
        await signing_in
    assert not await users.sessions(user.id)
    known = await users.password_hash("ann")
    assert known is not None and known[0].must_change_password and await at_once.verify(known[1], given)
