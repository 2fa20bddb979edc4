"""The interface of the store of users and their sessions."""

from collections.abc import Sequence
from typing import Protocol

from deployments.errors import Conflict, LastingConflict, NotFound
from deployments.history.types import Page
from deployments.keys.types import Key, KeyChanges
from deployments.users.types import Session, User, UserChanges


class UserStore(Protocol):
    """Users by their usernames, and sessions by the hashes of their tokens.

    Everywhere: `HistoryUnavailable` means that the store could not be reached in time, and whether a change happened
    is unknown. Usernames and passwords have been checked (types.py).
    """

    async def create(self, username: str, password_hash: str, account: KeyChanges, *, must_change: bool) -> User:
        """Return a new user; Conflict where the username is taken, BadRequest for what an account cannot be."""
        ...

    async def page(self, after: str | None, limit: int) -> Page[User]:
        """Return `limit` users in the order of their creation, from behind the one with the id `after`."""
        ...

    async def retrieve(self, user_id: str) -> User:
        """Return a user; NotFound if there is none."""
        ...

    async def update(self, user_id: str, changes: UserChanges, account: KeyChanges) -> User:
        """Change a user; NotFound if there is none, Conflict or BadRequest as `create`."""
        ...

    async def change_password(self, user_id: str, old_hash: str, new_hash: str) -> bool:
        """Replace the hash of a password, which need not be changed any more; whether it still was `old_hash`."""
        ...

    async def password_hash(self, username: str) -> tuple[User, str] | None:
        """Return who has this username, and the hash of the password; None if nobody has."""
        ...

    async def begin_session(self, session: Session, token_hash: bytes, max_sessions: int) -> None:
        """Keep a session, and end the least recently used ones of its user or key beyond `max_sessions`."""
        ...

    async def sessions(self, key_id: str) -> Sequence[Session]:
        """Return the sessions of a user or key that have not expired, the newest first."""
        ...

    async def session(self, token_hash: bytes) -> Session | None:
        """Return the session with this token, also one that has expired; None if there is none."""
        ...

    async def end_session(self, key_id: str, session_id: str) -> None:
        """End a session; NotFound if the user or key has none with this id."""
        ...

    async def end_sessions(self, key_id: str, but: str | None = None) -> None:
        """End all sessions of a user or key, except the one with the id `but`."""
        ...

    async def find(self, token_hash: bytes) -> Key | None:
        """Return the account or key that a session's token stands for, and note that the session is used.

        Its `expires_at` is when the session expires if nothing is done, or the key's own if that is earlier. None where
        there is no such session.
        """
        ...

    async def sweep(self) -> None:
        """Delete sessions that have expired."""
        ...


def username_taken(username: str) -> Conflict:
    """Return the error for a username that somebody has."""
    return LastingConflict(f"The username '{username}' is taken.", "username")


def no_user(user_id: str) -> NotFound:
    """Return the error for a user that is not there."""
    return NotFound(f"User with id '{user_id[:100]}' not found.")


def no_session(session_id: str) -> NotFound:
    """Return the error for a session that is not there, or somebody else's."""
    return NotFound(f"Session with id '{session_id[:100]}' not found.")
