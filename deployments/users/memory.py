"""Users and sessions in memory, with the promises of store.py but for durability: for tests and trials."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from deployments.history.types import Page, new_id
from deployments.keys.memory import MemoryKeys
from deployments.keys.types import Key, KeyChanges
from deployments.users.store import no_session, no_user, username_taken
from deployments.users.types import IDLE, Session, User, UserChanges

NOTED_AFTER = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class _Kept:
    """A user without the account, which is kept with the keys."""

    username: str
    password_hash: str
    must_change_password: bool


class MemoryUsers:
    """The store as dictionaries, over the accounts of `keys`; away when those are."""

    def __init__(self, keys: MemoryKeys) -> None:
        self._keys = keys
        self._users: dict[str, _Kept] = {}
        self._sessions: dict[bytes, Session] = {}

    async def create(self, username: str, password_hash: str, account: KeyChanges, *, must_change: bool) -> User:
        """Return a new user."""
        self._keys.accounts()
        self._claim(username, "")
        id_ = new_id("user")
        empty = Key(id_, username, "", tenant=id_, created_at=datetime.now(UTC), is_user=True)
        made = self._keys.put_account(secrets.token_bytes(32), empty, account)
        self._users[id_] = _Kept(username, password_hash, must_change)
        return self._user(made)

    async def page(self, after: str | None, limit: int) -> Page[User]:
        """Return a page in the order of creation."""
        users = [self._user(account) for account in self._keys.accounts().values()]
        if after is not None:
            users = users[next((at + 1 for at, user in enumerate(users) if user.id == after), len(users)) :]
        return Page[User].of(users[: limit + 1], limit)

    async def retrieve(self, user_id: str) -> User:
        """Return a user."""
        return self._user(self._account(user_id)[1])

    async def update(self, user_id: str, changes: UserChanges, account: KeyChanges) -> User:
        """Change a user."""
        hash_, known = self._account(user_id)
        self._claim(changes.get("username", ""), user_id)
        changed = self._keys.put_account(hash_, known, account)
        self._users[user_id] = replace(self._users[user_id], **changes)
        return self._user(changed)

    async def change_password(self, user_id: str, old_hash: str, new_hash: str) -> bool:
        """Replace the hash of a password."""
        self._keys.accounts()
        kept = self._users.get(user_id)
        if kept is None or kept.password_hash != old_hash:
            return False
        self._users[user_id] = replace(kept, password_hash=new_hash, must_change_password=False)
        return True

    async def password_hash(self, username: str) -> tuple[User, str] | None:
        """Return who has this username, and the hash of the password."""
        for account in self._keys.accounts().values():
            if self._users[account.id].username == username:
                return self._user(account), self._users[account.id].password_hash
        return None

    async def begin_session(self, session: Session, token_hash: bytes, max_sessions: int) -> None:
        """Keep a session."""
        self._keys.accounts()
        mine = [(hash_, kept) for hash_, kept in self._sessions.items() if kept.key_id == session.key_id]
        mine.sort(key=lambda one: one[1].used_at, reverse=True)
        for hash_, _ in mine[max_sessions - 1 :]:
            del self._sessions[hash_]
        self._sessions[token_hash] = session

    async def sessions(self, key_id: str) -> Sequence[Session]:
        """Return the sessions that have not expired."""
        self._keys.accounts()
        now = datetime.now(UTC)
        mine = [kept for kept in self._sessions.values() if kept.key_id == key_id and _until(kept) > now]
        return sorted(mine, key=lambda kept: kept.created_at, reverse=True)

    async def session(self, token_hash: bytes) -> Session | None:
        """Return the session with this token."""
        self._keys.accounts()
        return self._sessions.get(token_hash)

    async def end_session(self, key_id: str, session_id: str) -> None:
        """End a session."""
        self._keys.accounts()
        for hash_, kept in self._sessions.items():
            if (kept.key_id, kept.id) == (key_id, session_id):
                del self._sessions[hash_]
                return
        raise no_session(session_id)

    async def end_sessions(self, key_id: str, but: str | None = None) -> None:
        """End all sessions but one."""
        self._keys.accounts()
        self._sessions = {h: s for h, s in self._sessions.items() if s.key_id != key_id or s.id == but}

    async def find(self, token_hash: bytes) -> Key | None:
        """Return whom a session stands for."""
        accounts = self._keys.accounts().values()
        session, now = self._sessions.get(token_hash), datetime.now(UTC)
        if session is None:
            return None
        until = _until(session)
        if until > now and session.used_at < now - NOTED_AFTER:
            self._sessions[token_hash] = replace(session, used_at=now)
        known = next((account for account in accounts if account.id == session.key_id), None)
        key = known or await self._keys.retrieve(session.key_id)
        return replace(key, expires_at=until if key.expires_at is None else min(until, key.expires_at))

    async def sweep(self) -> None:
        """Delete sessions that have expired."""
        self._keys.accounts()
        now = datetime.now(UTC)
        self._sessions = {hash_: kept for hash_, kept in self._sessions.items() if _until(kept) > now}

    def _account(self, user_id: str) -> tuple[bytes, Key]:
        for hash_, account in self._keys.accounts().items():
            if account.id == user_id:
                return hash_, account
        raise no_user(user_id)

    def _claim(self, username: str, user_id: str) -> None:
        if any(kept.username == username and id_ != user_id for id_, kept in self._users.items()):
            raise username_taken(username)

    def _user(self, account: Key) -> User:
        kept = self._users[account.id]
        return User(account, kept.username, kept.must_change_password)


def _until(session: Session) -> datetime:
    return min(session.expires_at, session.used_at + IDLE)
