"""The salt of vLLM's prefix cache: whose earlier prompts may make a prompt's first token come sooner.

A cached prefix is read almost instantly, so the time to the first token tells whether
somebody sent that prefix before. With one salt per tenant it tells each tenant of
its own prompts only.
"""

import hashlib

from deployments.errors import BadRequest
from deployments.models.protocol import Endpoint

SALTED: frozenset[Endpoint] = frozenset(
    {"chat", "completion", "embedding", "pooling", "classification", "rerank", "score"}
)
"""What fills the prefix cache; a request for tokens never reaches the engine."""

MAX_SALT_CHARACTERS = 1024


def cache_salt(tenant: str, own: object = None) -> str:
    """Return the salt of a tenant's prompts ("": shared by all), combined with the client's `own`, if it has one.

    Hashed, so that no client can choose another tenant's. Raises BadRequest for an `own` that is not a string.
    """
    if own is not None and not (isinstance(own, str) and 0 < len(own) <= MAX_SALT_CHARACTERS):
        raise BadRequest(f"'cache_salt' must be a string of 1 to {MAX_SALT_CHARACTERS} characters.", "cache_salt")
    parts = [part.encode(errors="surrogatepass") for part in (tenant, own or "")]
    return hashlib.blake2b(len(parts[0]).to_bytes(4, "big") + b"".join(parts), digest_size=16).hexdigest()
