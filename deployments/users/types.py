"""A user, a session, and what a username and a password may be."""

import re
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypedDict

from deployments.errors import BadRequest
from deployments.keys.types import SESSION_PREFIX, Key

ID_PREFIX = "user_"
MAX_USERNAME = 64
MIN_PASSWORD, MAX_PASSWORD = 10, 256
"""Characters. The least that NIST SP 800-63B asks of a password that stands alone is 8; length is all that it asks."""
IDLE = timedelta(days=7)
LIFETIME = timedelta(days=30)
MAX_SESSIONS = 50
"""Sessions of one user or key; beyond it, the least recently used one ends."""
MAX_DEVICE = 200

_USERNAME = re.compile(r"[a-z0-9](?:[a-z0-9._@+-]*[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class User:
    """A person; `account` carries the limits, the state, the tenant, and the name as others read it."""

    account: Key
    username: str
    must_change_password: bool = False
    """The password is one that an administrator knows: signing in with it asks for a new one."""

    @property
    def id(self) -> str:
        """The user's id, which is the account's and the tenant's as well."""
        return self.account.id


@dataclass(frozen=True, slots=True)
class Session:
    """A browser that has signed in; `key_id` is the user's or the key's id, `used_at` is a minute exact."""

    id: str
    key_id: str
    device: str
    """What the browser said of itself, in its own words."""
    created_at: datetime
    used_at: datetime
    expires_at: datetime


class UserChanges(TypedDict, total=False):
    """What is to become of a user, besides the account; a field that is absent stays as it is."""

    username: str
    password_hash: str
    must_change_password: bool


def checked_username(text: str) -> str:
    """Return a username as it is stored, in lower case; raises BadRequest."""
    username = text.strip().lower()
    if len(username) > MAX_USERNAME or not _USERNAME.fullmatch(username):
        raise BadRequest(
            f"A username has 1 to {MAX_USERNAME} letters a-z, digits, and . _ @ + - between them.", "username"
        )
    return username


def checked_password(text: str, username: str, param: str = "password") -> str:
    """Return a password that may be set; raises BadRequest, which never repeats it."""
    if not MIN_PASSWORD <= len(text) <= MAX_PASSWORD:
        raise BadRequest(f"A password has {MIN_PASSWORD} to {MAX_PASSWORD} characters.", param)
    if text.lower() == username or len(set(text)) < 4:
        raise BadRequest("This password is too easy to guess.", param)
    return text


def new_password() -> str:
    """Return a password to give to somebody, of 96 random bits."""
    return secrets.token_urlsafe(12)


def new_token() -> str:
    """Return a session's token of 256 random bits."""
    return SESSION_PREFIX + secrets.token_urlsafe(32)


def device_of(user_agent: str) -> str:
    """Return what is kept of a `User-Agent`, which a person reads in the list of sessions."""
    return "".join(character for character in user_agent[:MAX_DEVICE] if character.isprintable())
