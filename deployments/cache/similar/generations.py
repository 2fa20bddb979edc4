"""An answer in LangChain's terms, and back.

What this service keeps there is an ordinary answer for other LangChain programs: text,
tool calls, usage. The whole of it, frames included, stands beside as a text, together
with what it answers. What another program kept there has no such part: it is answered
with what it says, and its frames are made when they are asked for.
"""

import base64
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

import msgspec
from langchain_core.messages import AIMessage, convert_to_messages
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import ChatGeneration, Generation

from deployments.cache.entry import CacheEntry, decode, encode
from deployments.cache.similar.prompt import Prompt

OWN: Final = "chatllm"
REASONS: Final = frozenset({"stop", "length", "tool_calls", "content_filter"})


class NoAnswer(Exception):
    """What was found is no answer to this question; `kind` is a word for the counters."""

    def __init__(self, kind: str = "garbage") -> None:
        self.kind = kind
        super().__init__(kind)


class Whole(msgspec.Struct, frozen=True):
    """The whole answer as it stands in `generation_info`: under which key and for whom, until when (seconds)."""

    key: str
    scope: str
    expires_at: float
    entry: str


@dataclass(frozen=True, slots=True)
class Read:
    """An encoded entry that was found, and whether it was the answer to another question."""

    value: bytes
    is_similar: bool


def generations_of(key: str, prompt: Prompt, value: bytes, ttl_s: float) -> list[Generation]:
    """Return an encoded answer as a generation for each of its choices; raises NoAnswer where that cannot be."""
    entry = decode(value)
    if entry is None:
        raise NoAnswer
    reply: dict[str, Any] = msgspec.json.decode(entry.body)
    generations = [_generation(choice, reply) for choice in reply["choices"]]
    whole = Whole(key, prompt.scope, time.time() + ttl_s, base64.b64encode(value).decode())
    generations[0].generation_info = {**(generations[0].generation_info or {}), OWN: msgspec.to_builtins(whole)}
    return generations


def _generation(choice: dict[str, Any], reply: dict[str, Any]) -> Generation:
    info = {"finish_reason": choice.get("finish_reason"), "model_name": reply.get("model")}
    if "message" not in choice:
        return Generation(text=choice["text"], generation_info=info)
    try:
        (message,) = convert_to_messages([choice["message"]])
    except (ValueError, TypeError, KeyError):  # arguments of a tool call that are not JSON
        raise NoAnswer("prompt") from None
    assert isinstance(message, AIMessage)
    usage = reply.get("usage") or {}
    prompt, completion = int(usage.get("prompt_tokens") or 0), int(usage.get("completion_tokens") or 0)
    message.usage_metadata = UsageMetadata(
        input_tokens=prompt, output_tokens=completion, total_tokens=prompt + completion
    )
    message.response_metadata = info
    return ChatGeneration(message=message, generation_info=info)


def read(found: Any, key: str, prompt: Prompt) -> Read | None:
    """Return the answer in what a cache found, None if it has expired.

    Raises NoAnswer for what is no answer, and for one that was given to another
    tenant, by another model, or before a purge: a cache may not heed `llm_string`.
    """
    if not isinstance(found, Sequence) or not found or not all(isinstance(one, Generation) for one in found):
        raise NoAnswer
    generations = cast("Sequence[Generation]", found)
    own = (generations[0].generation_info or {}).get(OWN)
    try:
        if own is None:
            return Read(_synthesised(generations, prompt), True)
        whole = msgspec.convert(own, Whole)
        value = base64.b64decode(whole.entry, validate=True)
    except (ValueError, TypeError, KeyError):  # msgspec's and base64's errors are ValueErrors
        raise NoAnswer from None
    if whole.scope != prompt.scope:
        raise NoAnswer("scope")
    if whole.expires_at <= time.time():
        return None
    if decode(value) is None:
        raise NoAnswer
    return Read(value, whole.key != key)


def _synthesised(generations: Sequence[Generation], prompt: Prompt) -> bytes:
    """Return what another program's generations say as an entry without frames, of unknown age."""
    if len(generations) != prompt.choices or not all(one.text or _calls(one) for one in generations):
        raise NoAnswer
    choices = [_choice(at, one, prompt.is_chat) for at, one in enumerate(generations)]
    head = {
        "id": "chatcmpl-0" if prompt.is_chat else "cmpl-0",
        "object": "chat.completion" if prompt.is_chat else "text_completion",
        "created": 0,
        "model": prompt.model,
    }
    return encode(CacheEntry(msgspec.json.encode(head | {"choices": choices, "usage": _usage(generations)}), b"", 0.0))


def _choice(at: int, generation: Generation, is_chat: bool) -> dict[str, Any]:
    calls = _calls(generation)
    reason = (generation.generation_info or {}).get("finish_reason")
    if reason not in REASONS:
        reason = "tool_calls" if calls else "stop"
    if not is_chat:
        return {"index": at, "text": generation.text, "logprobs": None, "finish_reason": reason}
    message = {"role": "assistant", "content": generation.text or None} | ({"tool_calls": calls} if calls else {})
    return {"index": at, "message": message, "logprobs": None, "finish_reason": reason}


def _message(generation: Generation) -> AIMessage | None:
    message = generation.message if isinstance(generation, ChatGeneration) else None
    return message if isinstance(message, AIMessage) else None


def _calls(generation: Generation) -> list[dict[str, Any]]:
    message = _message(generation)
    return [
        {
            "id": call["id"] or f"call_{at}",
            "type": "function",
            "function": {"name": call["name"], "arguments": json.dumps(call["args"])},
        }
        for at, call in enumerate(message.tool_calls if message else [])
    ]


def _usage(generations: Sequence[Generation]) -> dict[str, int] | None:
    """Return what is known of the tokens: LangChain counts those of all choices in each message."""
    message = _message(generations[0])
    usage = message.usage_metadata if message else None
    if not usage:
        return None
    prompt, completion = usage["input_tokens"], usage["output_tokens"]
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
