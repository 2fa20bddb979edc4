"""Cutting a long conversation down to the model's context window, in steps.

A window that slides by one message per turn changes the head of the prompt each
time, so that vLLM's prefix cache never hits again. Here the head is chosen among
the oldest messages that fit, by a digest of what they say: the least one. It then
stays the head until it no longer fits, for many turns, wherever the messages that
we are given begin (a long conversation's oldest are not even read) and on
whichever replica. `loadtests/memory.py` measures what that saves.
"""

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import orjson
from langchain_core.messages import AIMessage, BaseMessage, convert_to_messages, trim_messages

TOKENS_PER_MESSAGE = 8
"""What a chat template adds around one message, roughly."""

HEAD_ROOM = 0.4
"""The part of the window, at its old end, in which the head is chosen: more is steadier, less forgets less."""


def text_of(message: BaseMessage) -> str:
    """Return the text of a message, its text parts joined."""
    if isinstance(message.content, str):
        return message.content
    return "".join(part if isinstance(part, str) else str(part.get("text", "")) for part in message.content)


def trimmed(
    messages: list[dict[str, Any]], budget_tokens: int, count_tokens: Callable[[str], int]
) -> list[dict[str, Any]]:
    """Return the newest of `messages` (OpenAI's shape) that fit into `budget_tokens`.

    A leading system message stays. The result starts with a user message. If
    nothing older can go, the last message comes back and the model says that the
    prompt is too long. Tokens are counted from the newest message back and no
    further than what fits, so that the cost does not grow with the conversation.
    """
    parsed = convert_to_messages(messages)
    lead = parsed[:1] if parsed[0].type == "system" else []
    counts = {id(message): _count(message, count_tokens) for message in lead}
    room = budget_tokens - sum(counts.values())
    first, below = _fitting(parsed, len(lead), room, counts, count_tokens)
    if first == len(lead):
        return messages
    heads = [at for at in range(first, len(parsed)) if parsed[at].type == "human"]
    if not heads:
        return messages[: len(lead)] + messages[-1:]
    old = [at for at in heads if below[at] >= (1 - HEAD_ROOM) * room] or heads[:1]
    head = min(old, key=lambda at: _digest(parsed, at))
    kept = trim_messages(
        [*lead, *parsed[first:]],
        max_tokens=budget_tokens - room + below[head],
        strategy="last",
        include_system=True,
        start_on="human",
        token_counter=lambda group: sum(counts[id(message)] for message in group),
    )
    return messages[: len(lead)] + messages[len(messages) - len(kept) + len(lead) :]


def _fitting(
    messages: Sequence[BaseMessage], stop: int, room: int, counts: dict[int, int], count_tokens: Callable[[str], int]
) -> tuple[int, dict[int, int]]:
    """Return where the messages that fit begin, no earlier than `stop`, and the tokens from each to the end.

    Adds their own tokens to `counts`.
    """
    below: dict[int, int] = {}
    total = 0
    for at in range(len(messages) - 1, stop - 1, -1):
        count = _count(messages[at], count_tokens)
        total += count
        if total > room:
            return at + 1, below
        counts[id(messages[at])] = count
        below[at] = total
    return stop, below


def _count(message: BaseMessage, count_tokens: Callable[[str], int]) -> int:
    calls = orjson.dumps(message.tool_calls).decode() if isinstance(message, AIMessage) and message.tool_calls else ""
    return count_tokens(text_of(message) + calls) + TOKENS_PER_MESSAGE


def _digest(messages: Sequence[BaseMessage], at: int) -> bytes:
    """Return a number of a message and its answer: the same words are said often, but seldom answered the same."""
    said = "\0".join(text_of(message) for message in messages[at : at + 2])
    return hashlib.blake2b(said.encode(errors="replace"), digest_size=8).digest()
