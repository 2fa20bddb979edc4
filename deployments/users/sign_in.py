"""Signing in: by username and password, or with a key; attempts are bounded, and sessions begun."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from deployments.errors import BadRequest, PasswordChangeRequired, SignInFailed
from deployments.history.types import new_id
from deployments.keys.types import hash_of
from deployments.users.passwords import Passwords
from deployments.users.store import UserStore
from deployments.users.types import (
    LIFETIME,
    MAX_PASSWORD,
    MAX_SESSIONS,
    Session,
    User,
    checked_password,
    checked_username,
    device_of,
    new_password,
    new_token,
)

Admit = Callable[[str], Awaitable[None]]
"""Counts an attempt to sign in with a username; raises TooManyRequests past the limit."""


class SignIn:
    """Begins sessions, and sets passwords."""

    def __init__(self, store: UserStore, passwords: Passwords, admit: Admit) -> None:
        self._store = store
        self._passwords = passwords
        self._admit = admit

    async def with_password(
        self, username: str, password: str, user_agent: str, new: str | None = None
    ) -> tuple[User, Session, str]:
        """Return who signs in, a session, and its token; with `new`, change the password, which ends other sessions.

        Raises SignInFailed, which does not tell a wrong username from a wrong password, TooManyRequests past the
        attempts that a username has, PasswordChangeRequired where the password is right and must be changed, and
        BadRequest for a new one that may not be set.
        """
        user, hash_ = await self._verified(username, password)
        if new is not None:
            await self._change(user, hash_, new, is_known=new == password)
        elif user.must_change_password:
            raise PasswordChangeRequired
        elif self._passwords.is_outdated(hash_):
            await self._store.change_password(user.id, hash_, await self._passwords.hash(password))
        session, token = await self.begin(user.id, user_agent)
        if not await self._is_still(user, password if new is None else new, hash_):
            await self._store.end_session(user.id, session.id)
            raise SignInFailed
        return user, session, token

    async def begin(self, key_id: str, user_agent: str) -> tuple[Session, str]:
        """Return a new session of a user or key, and its token."""
        now, token = datetime.now(UTC), new_token()
        session = Session(new_id("session"), key_id, device_of(user_agent), now, now, now + LIFETIME)
        await self._store.begin_session(session, hash_of(token), MAX_SESSIONS)
        return session, token

    async def hashed(self, username: str, given: str | None) -> tuple[str, str]:
        """Return a password for a new user, `given` or made up, and its hash."""
        password = new_password() if given is None else checked_password(given, username)
        return password, await self._passwords.hash(password)

    async def reset(self, user_id: str) -> str:
        """Return a new password of a user, who must change it, and end all of the user's sessions."""
        password = new_password()
        hash_ = await self._passwords.hash(password)
        await self._store.update(user_id, {"password_hash": hash_, "must_change_password": True}, {})
        await self._store.end_sessions(user_id)
        return password

    async def _verified(self, text: str, password: str) -> tuple[User, str]:
        try:
            username = checked_username(text)
        except BadRequest:
            raise SignInFailed from None
        await self._admit(username)
        user, hash_ = await self._store.password_hash(username) or (None, None)
        is_right = len(password) <= MAX_PASSWORD and await self._passwords.verify(hash_, password)
        if not is_right or user is None or hash_ is None:
            raise SignInFailed
        if not user.account.is_valid():
            raise SignInFailed(f"This account is {user.account.state}: ask whoever runs this service.")
        return user, hash_

    async def _is_still(self, user: User, password: str, hash_: str) -> bool:
        """Whether the password is the user's still: a reset that came meanwhile has ended the sessions before this."""
        known = await self._store.password_hash(user.username)
        return known is not None and (known[1] == hash_ or await self._passwords.verify(known[1], password))

    async def _change(self, user: User, old_hash: str, new: str, *, is_known: bool) -> None:
        if is_known:
            raise BadRequest("The new password must differ from the old one.", "new_password")
        hash_ = await self._passwords.hash(checked_password(new, user.username, "new_password"))
        if not await self._store.change_password(user.id, old_hash, hash_):
            raise SignInFailed  # reset meanwhile: the old password changes nothing any more
        await self._store.end_sessions(user.id)
