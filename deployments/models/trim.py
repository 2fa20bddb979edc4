"""Cutting a long conversation down to the model's context window, in steps.

A window that slides by one message per turn changes the head of the prompt each
time, so that vLLM's prefix cache never hits again. Here the head is chosen among
the oldest messages that fit, by a digest of what they say: the least one. It then
stays the head until it no longer fits, for many turns, wherever the messages that
we are given begin (a long conversation's oldest are not even read) and on
whichever replica. `loadtests/memory.py` measures what that saves.

Nothing here judges a message: the engine's parser does, and what was stored has
been made readable before.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

TOKENS_PER_MESSAGE = 8
"""What a chat template adds around one message, roughly."""

HEAD_ROOM = 0.4
"""The part of the window, at its old end, in which the head is chosen: more is steadier, less forgets less."""

INSTRUCTING = ("system", "developer")


def text_of(message: Mapping[str, Any]) -> str:
    """Return the text of a message, its text parts joined."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    parts: list[Any] = content if isinstance(content, list) else []
    return "".join(
        part if isinstance(part, str) else str(part.get("text") or "")
        for part in parts
        if isinstance(part, str | Mapping)
    )


def trimmed(
    messages: list[dict[str, Any]], budget_tokens: int, count_tokens: Callable[[str], int]
) -> list[dict[str, Any]]:
    """Return the newest of `messages` (OpenAI's shape) that fit into `budget_tokens`.

    The leading system and developer messages stay. What follows them starts with a
    user message, or with an assistant's where no user message fits; never with the
    output of a tool whose call is gone. If nothing older can go, the last message
    comes back and the model says that the prompt is too long. Tokens are counted
    from the newest message back and no further than what fits, so that the cost
    does not grow with the conversation.
    """
    lead = next((at for at, entry in enumerate(messages) if entry.get("role") not in INSTRUCTING), len(messages) - 1)
    room = budget_tokens - sum(_count(message, count_tokens) for message in messages[:lead])
    first, below = _fitting(messages, lead, room, count_tokens)
    if first == lead:
        return messages
    fitting = range(first, len(messages))
    heads = [at for at in fitting if messages[at].get("role") == "user"]
    heads = heads or [at for at in fitting if messages[at].get("role") == "assistant"]
    if not heads:
        return messages[:lead] + messages[-1:]
    old = [at for at in heads if below[at] >= (1 - HEAD_ROOM) * room] or heads[:1]
    head = min(old, key=lambda at: _digest(messages, at))
    return messages[:lead] + messages[head:]


def _fitting(
    messages: Sequence[Mapping[str, Any]], stop: int, room: int, count_tokens: Callable[[str], int]
) -> tuple[int, dict[int, int]]:
    """Return where the messages that fit begin, no earlier than `stop`, and the tokens from each to the end."""
    below: dict[int, int] = {}
    total = 0
    for at in range(len(messages) - 1, stop - 1, -1):
        total += _count(messages[at], count_tokens)
        if total > room:
            return at + 1, below
        below[at] = total
    return stop, below


def _count(message: Mapping[str, Any], count_tokens: Callable[[str], int]) -> int:
    calls = message.get("tool_calls")
    return count_tokens(text_of(message) + (orjson.dumps(calls).decode() if calls else "")) + TOKENS_PER_MESSAGE


def _digest(messages: Sequence[Mapping[str, Any]], at: int) -> bytes:
    """Return a number of a message and its answer: the same words are said often, but seldom answered the same."""
    joined = "\0".join(text_of(message) for message in messages[at : at + 2])
    return hashlib.blake2b(joined.encode(errors="replace"), digest_size=8).digest()
