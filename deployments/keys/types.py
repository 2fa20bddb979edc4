"""API keys, their secrets and their limits."""

import hashlib
import secrets
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Literal, TypedDict

from deployments.errors import BadRequest
from deployments.queueing.job import PRIORITIES, Priority

PREFIX = "sk-chatllm-"
SESSION_PREFIX = "st-chatllm-"
"""Of the tokens that sessions of the chat page have in place of a key; as long as `PREFIX`."""
ID_PREFIX = "key_"
MAX_NAME = 200
_RANDOM_BYTES = 32
SECRET_LENGTH = len(PREFIX) + 43  # 32 bytes in unpadded base64

State = Literal["valid", "disabled", "expired", "revoked"]


@dataclass(frozen=True, slots=True)
class KeyLimits:
    """What a key may use; None is no limit. Months are those of UTC.

    `concurrent_requests` counts sequences: a request has one for each answer to each of its prompts.
    `storage_bytes` is what it may keep: conversations, responses, stored completions and files; `file_bytes` bounds
    the files alone. `open_batches` are those that have not ended, each of `batch_lines` requests at most.
    """

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrent_requests: int | None = None
    tokens_per_month: int | None = None
    storage_bytes: int | None = None
    open_batches: int | None = None
    batch_lines: int | None = None
    file_bytes: int | None = None

    def __bool__(self) -> bool:
        return bool(self.requests_per_minute or self.concurrent_requests or self.counts_tokens)

    def within(self, defaults: "KeyLimits") -> "KeyLimits":
        """Return what holds for a key with these limits of its own; `ANY_NUMBER` at once stands against a default."""
        own = {name: getattr(self, name) or getattr(defaults, name) for name in LIMIT_NAMES}
        at_once = own["concurrent_requests"]
        return KeyLimits(**{**own, "concurrent_requests": None if at_once == ANY_NUMBER else at_once})

    @property
    def counts_tokens(self) -> bool:
        """Whether it matters how many tokens a request used."""
        return bool(self.tokens_per_minute or self.tokens_per_month)


UNLIMITED = KeyLimits()
LIMIT_NAMES = tuple(field.name for field in fields(KeyLimits))
# What every store and every replica can count exactly.
MAX_LIMIT = 2**48
MAX_WEIGHT = 1000
ANY_NUMBER = MAX_LIMIT
"""The `concurrent_requests` of a key that has no such limit, whatever the configuration gives to others."""


@dataclass(frozen=True, slots=True)
class Key:
    """An API key without its secret; `last4` are the secret's last characters, for people to tell keys apart."""

    id: str
    name: str
    last4: str
    tenant: str
    created_at: datetime
    revoked_at: datetime | None = None
    expires_at: datetime | None = None
    disabled_at: datetime | None = None
    is_admin: bool = False
    limits: KeyLimits = UNLIMITED
    weight: int | None = None
    """Its share of a busy model in relation to other keys'; None is 1."""
    priority: Priority | None = None
    """The class in which its requests wait; None is interactive."""
    is_user: bool = False
    """Whether it is a user's account: no secret opens it, sessions stand for it."""

    @property
    def state(self) -> State:
        """What the key is now; only a valid one opens anything."""
        if self.revoked_at is not None:
            return "revoked"
        if self.expires_at is not None and datetime.now(UTC) >= self.expires_at:
            return "expired"
        return "disabled" if self.disabled_at is not None else "valid"

    def is_valid(self) -> bool:
        """Whether the key is valid now."""
        return self.state == "valid"


class KeyChanges(TypedDict, total=False):
    """What is to become of a key: a field that is absent stays as it is, a None takes the limit or date away."""

    name: str
    is_admin: bool
    expires_at: datetime | None
    disabled_at: datetime | None
    requests_per_minute: int | None
    tokens_per_minute: int | None
    concurrent_requests: int | None
    tokens_per_month: int | None
    storage_bytes: int | None
    open_batches: int | None
    batch_lines: int | None
    file_bytes: int | None
    weight: int | None
    priority: Priority | None


def checked(changes: KeyChanges) -> KeyChanges:
    """Return `changes` as they can be stored; raises BadRequest that names the field."""
    if "name" in changes:
        changes = {**changes, "name": _checked_name(changes["name"])}
    for limit in LIMIT_NAMES:
        value = changes.get(limit)
        if value is not None and not 1 <= value <= MAX_LIMIT:
            raise BadRequest(f"'{limit}' must be from 1 to {MAX_LIMIT}.", limit)
    weight = changes.get("weight")
    if weight is not None and not 1 <= weight <= MAX_WEIGHT:
        raise BadRequest(f"'weight' must be from 1 to {MAX_WEIGHT}.", "weight")
    if changes.get("priority") not in (None, *PRIORITIES):
        raise BadRequest(f"'priority' must be one of {', '.join(PRIORITIES)}.", "priority")
    return changes


def _checked_name(name: str) -> str:
    # Names are printed on terminals, and a key is found by its name or its id.
    if not 1 <= len(name) <= MAX_NAME or not name.isprintable() or name.startswith(ID_PREFIX):
        raise BadRequest(
            f"A key's name has 1 to {MAX_NAME} printable characters and does not begin with '{ID_PREFIX}'.", "name"
        )
    return name


def new_secret() -> str:
    """Return a secret of 256 random bits."""
    return PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)


def hash_of(secret: str) -> bytes:
    """Return what is stored of a secret.

    A fast hash is right here. Slow ones (bcrypt, Argon2) make guessing passwords
    expensive, which have perhaps 40 bits; nobody guesses 256 random bits from
    their SHA-256, however fast it is, and every request has to compute it.
    """
    return hashlib.sha256(secret.encode(errors="replace")).digest()
