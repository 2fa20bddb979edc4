"""A stored answer made fresh: with the id and the time of the request that it answers now.

    plain request     fresh_body(entry, …)
    streamed request  fresh_frames(entry, …), followed by `data: [DONE]`

The events are those of the original stream; where the answer was only ever
given plain, an equal stream is built from its body.
"""

from typing import Any

import msgspec

from deployments.cache.entry import EVENT_END, CacheEntry

TEXT_COMPLETION = "text_completion"

# The message's fields that get an event of their own; all others travel with the first one.
_OWN_EVENT = frozenset({"role", "content", "reasoning", "tool_calls"})
_NOT_FIRST = frozenset(
    {"choices", "usage", "system_fingerprint", "prompt_logprobs", "kv_transfer_params", "ec_transfer_params", "metrics"}
)


class _Head(msgspec.Struct):
    id: str = ""
    created: int = 0


def fresh_body(entry: CacheEntry, reply_id: str, created: int) -> bytes:
    """Return the plain answer under a new id; `created` in seconds since 1970."""
    old = msgspec.json.decode(entry.body, type=_Head)
    head = entry.body.find(b'"choices"')
    renewed = _renew(entry.body[:head], old, reply_id, created)
    if renewed is not None:
        return renewed + entry.body[head:]
    return msgspec.json.encode(msgspec.json.decode(entry.body) | {"id": reply_id, "created": created})


def fresh_frames(entry: CacheEntry, reply_id: str, created: int, include_usage: bool) -> bytes:
    """Return all events of the stream under a new id, without the closing `[DONE]`; the last is usage if asked for."""
    frames = entry.frames or frames_of(entry.body)
    if include_usage:
        frames += entry.usage or usage_frame(entry.body)
    renewed = _renew(frames, msgspec.json.decode(entry.body, type=_Head), reply_id, created, frames.count(EVENT_END))
    if renewed is not None:
        return renewed
    events = (msgspec.json.decode(event.removeprefix(b"data:")) for event in frames.split(EVENT_END) if event.strip())
    return b"".join(_frame(event | {"id": reply_id, "created": created}) for event in events)


def _renew(data: bytes, old: _Head, reply_id: str, created: int, times: int = 1) -> bytes | None:
    """Replace id and time `times` times each, or return None where they are written differently.

    Inside a JSON string a quote is escaped, so that no text of the model can look like these fields.
    """
    was_id, was_created = b'"id":%b,' % msgspec.json.encode(old.id), b'"created":%d,' % old.created
    if data.count(was_id) != times or data.count(was_created) != times:
        return None
    return data.replace(was_id, b'"id":%b,' % msgspec.json.encode(reply_id)).replace(
        was_created, b'"created":%d,' % created
    )


def usage_frame(body: bytes) -> bytes:
    """Return the event that ends a stream with `include_usage`."""
    reply = msgspec.json.decode(body)
    return _frame(_chunk_head(reply) | {"choices": [], "usage": reply.get("usage")})


def frames_of(body: bytes) -> bytes:
    """Build the stream that says what a plain answer says: role, reasoning, content, tool calls, then why it ended."""
    reply = msgspec.json.decode(body)
    head = _chunk_head(reply)
    if reply.get("object") == TEXT_COMPLETION:
        return b"".join(_frame(head | {"choices": [choice]}) for choice in reply["choices"])
    first = {name: value for name, value in reply.items() if name not in _NOT_FIRST | head.keys() and value is not None}
    events = [head | {"choices": [opening]} | first for opening in map(_opening, reply["choices"])]
    for choice in reply["choices"]:
        events.extend(head | {"choices": [step]} for step in _steps(choice))
        if reply.get("system_fingerprint"):
            events[-1]["system_fingerprint"] = reply["system_fingerprint"]
    return b"".join(map(_frame, events))


def _chunk_head(reply: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": reply.get("id", ""),
        "object": TEXT_COMPLETION if reply.get("object") == TEXT_COMPLETION else "chat.completion.chunk",
        "created": reply.get("created", 0),
        "model": reply.get("model", ""),
    }


def _opening(choice: dict[str, Any]) -> dict[str, Any]:
    message = choice["message"]
    extra = {name: value for name, value in message.items() if name not in _OWN_EVENT and value is not None}
    delta = {"role": message.get("role", "assistant"), "content": "", **extra}
    return {"index": choice["index"], "delta": delta, "logprobs": None, "finish_reason": None}


def _steps(choice: dict[str, Any]) -> list[dict[str, Any]]:
    """Return one choice's events after the first: what it says, then why it ended."""
    message = choice["message"]
    calls = [{"index": at, **call} for at, call in enumerate(message.get("tool_calls") or [])]
    fields = {"reasoning": message.get("reasoning"), "content": message.get("content"), "tool_calls": calls}
    steps = [
        {"index": choice["index"], "delta": {name: value}, "logprobs": None, "finish_reason": None}
        for name, value in fields.items()
        if value
    ]
    steps.append({"index": choice["index"], "delta": {}, "logprobs": None} | _ending(choice))
    tokens = {name: choice[name] for name in ("logprobs", "token_ids") if choice.get(name) is not None}
    steps[-2 if len(steps) > 1 else -1].update(tokens)
    return steps


def _ending(choice: dict[str, Any]) -> dict[str, Any]:
    ending = {"finish_reason": choice.get("finish_reason")}
    return ending | {"stop_reason": choice["stop_reason"]} if "stop_reason" in choice else ending


def _frame(event: dict[str, Any]) -> bytes:
    return b"data: " + msgspec.json.encode(event) + EVENT_END
