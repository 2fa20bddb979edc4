"""Which replica a prompt prefers: always the same one, so that it finds what vLLM has kept of the prompt's beginning.

The turns of a conversation have its first messages in common. Each replica's weight for these is a hash of both, and
the heaviest is preferred (rendezvous hashing: Thaler and Ravishankar, "A name-based mapping scheme for rendezvous",
1996), so that all ingress replicas agree without a word, and a replica that comes or goes moves its own share only.
One that has clearly more to do than the others is passed over (Mirrokni, Thorup and Zadimoghaddam, "Consistent hashing
with bounded loads", 2016).
"""

from collections.abc import Iterator, Mapping
from hashlib import blake2b
from typing import Any, TypeVar

MAX_HEAD_CHARS = 4_096
"""How much of a prompt is looked at, with the next two."""
MIN_USER_CHARS = 1_024
MAX_PARTS = 8
SURPLUS, SLACK = 1.25, 4
"""A replica takes a prompt that prefers it while it has fewer requests than so many times the mean, and this many."""

Replica = TypeVar("Replica")


def prompt_head(request: Mapping[str, Any]) -> bytes:
    """Return what the turns of one conversation have in common; b"" for a request without a text to go by.

    That are the texts of a chat's messages until the first of the user's, or the beginning of a completion's prompt,
    and the salt that keeps tenants' blocks apart. Of the user's message the beginning counts however long is what
    stands before it: many conversations can have that in common.
    """
    found, is_empty = blake2b(_bytes(str(request.get("cache_salt") or "")), digest_size=8), True
    left = MAX_HEAD_CHARS
    for text, is_users in _texts(request):
        kept = text[: max(left, MIN_USER_CHARS if is_users else 0)]
        found.update(b"\0" + _bytes(kept))
        left, is_empty = max(0, left - len(kept)), is_empty and not kept
    return b"" if is_empty else found.digest()


def _bytes(text: str) -> bytes:
    return text.encode(errors="replace")


def _texts(request: Mapping[str, Any]) -> Iterator[tuple[str, bool]]:
    """Yield the texts of the head, each with whether it is the user's."""
    messages, prompt = request.get("messages"), request.get("prompt")
    if isinstance(prompt, str):
        yield prompt, True
    for message in messages if isinstance(messages, list) else ():
        content, is_users = message.get("content"), message.get("role") == "user"
        for part in content[:MAX_PARTS] if isinstance(content, list) else ({"text": content},):
            if isinstance(part, dict) and isinstance(text := part.get("text"), str):
                yield text, is_users
        if is_users:
            return


def preferred(head: bytes, replicas: Mapping[str, Replica], loads: Mapping[str, int]) -> Replica | None:
    """Return the heaviest of the replicas, by their names, that is not busier than it may be; None if all are.

    `loads` are their requests, as far as known.
    """
    bound = SURPLUS * (sum(loads.values()) + 1) / max(1, len(replicas)) + SLACK
    free = [name for name in replicas if loads.get(name, 0) < bound]
    return replicas[max(free, key=lambda name: _weight(head, name))] if free else None


def _weight(head: bytes, name: str) -> bytes:
    return blake2b(name.encode(), digest_size=8, key=head).digest()
