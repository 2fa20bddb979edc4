"""API keys and their secrets."""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime

PREFIX = "sk-chatllm-"
_RANDOM_BYTES = 32
SECRET_LENGTH = len(PREFIX) + 43  # 32 bytes in unpadded base64


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

    def is_valid(self) -> bool:
        """Whether the key opens anything now."""
        return self.revoked_at is None and (self.expires_at is None or datetime.now(UTC) < self.expires_at)


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
