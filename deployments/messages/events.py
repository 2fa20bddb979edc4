"""From the chunks of a chat completion to the events of a message (Anthropic API reference, "Streaming messages").

One block is open at a time, and blocks have rising indexes. Thinking and text end when
something else begins. A call of a tool ends once its arguments are whole: what comes
meanwhile is held back, so that a model which writes several calls in turns never mixes them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from deployments.messages.answer import ending, message_head, signature, usage_of

Event = dict[str, Any]


def frame(event: Event) -> bytes:
    """Return an event as a server-sent event."""
    return b"event: " + event["type"].encode() + b"\ndata: " + orjson.dumps(event) + b"\n\n"


@dataclass(slots=True)
class _Block:
    """A block of the message; `held_back` is what it says that no event has told yet."""

    kind: str
    start: dict[str, Any]
    texts: list[str] = field(default_factory=list[str])
    held_back: list[str] = field(default_factory=list[str])

    @property
    def is_whole(self) -> bool:
        """Whether nothing can follow, as far as can be told."""
        if self.kind != "tool_use":
            return True
        try:
            orjson.loads("".join(self.texts))
        except orjson.JSONDecodeError:
            return False
        return True

    def delta(self, text: str) -> dict[str, Any]:
        """Return what `text` adds."""
        if self.kind == "tool_use":
            return {"type": "input_json_delta", "partial_json": text}
        return {"type": f"{self.kind}_delta", self.kind: text}


class Translator:
    """Follows the one answer to a message request."""

    def __init__(self, message_id: str, model: str, max_tokens: int) -> None:
        self._message_id = message_id
        self._model = model
        self._max_tokens = max_tokens
        self._blocks: list[_Block] = []
        self._calls: dict[int, _Block] = {}
        self._live = -1  # the index of the block that is open
        self._usage: Mapping[str, Any] = {}
        self._last: Mapping[str, Any] = {}

    def begin(self, input_tokens: int) -> list[Event]:
        """Return the events with which a message begins."""
        usage = usage_of({"prompt_tokens": input_tokens})
        head = {**message_head(self._message_id, self._model), "usage": usage}
        return [{"type": "message_start", "message": head}, {"type": "ping"}]

    def add(self, chunk: Mapping[str, Any]) -> Iterator[Event]:
        """Take a `chat.completion.chunk` and yield what it adds."""
        self._usage = chunk.get("usage") or self._usage
        for choice in chunk.get("choices") or ():
            if choice.get("index", 0) == 0:
                yield from self._delta(choice.get("delta") or {})
                if choice.get("finish_reason"):
                    self._last = choice

    def close(self) -> Iterator[Event]:
        """Yield the events with which a message ends."""
        for _ in self._blocks[max(self._live, 0) :]:
            yield from self._stop()
            yield from self._next()
        usage = usage_of(self._usage)
        why = ending(self._last, bool(self._calls), usage["output_tokens"], self._max_tokens)
        yield {"type": "message_delta", "delta": why, "usage": usage}
        yield {"type": "message_stop"}

    def _delta(self, delta: Mapping[str, Any]) -> Iterator[Event]:
        if thinking := delta.get("reasoning") or delta.get("reasoning_content"):
            yield from self._say("thinking", {"type": "thinking", "thinking": "", "signature": ""}, thinking)
        if text := delta.get("content"):
            yield from self._say("text", {"type": "text", "text": ""}, text)
        for call in delta.get("tool_calls") or ():
            yield from self._call(call)

    def _say(self, kind: str, start: dict[str, Any], text: str) -> Iterator[Event]:
        if not self._blocks or self._blocks[-1].kind != kind:
            yield from self._open(_Block(kind, start))
        yield from self._write(self._blocks[-1], text)

    def _call(self, call: Mapping[str, Any]) -> Iterator[Event]:
        index, function = int(call.get("index") or 0), call.get("function") or {}
        block = self._calls.get(index)
        if block is None:
            call_id = call.get("id") or f"toolu_{self._message_id}_{index}"
            start = {"type": "tool_use", "id": call_id, "name": function.get("name") or "", "input": {}}
            block = self._calls[index] = _Block("tool_use", start)
            yield from self._open(block)
        if arguments := function.get("arguments"):
            yield from self._write(block, arguments)

    def _open(self, block: _Block) -> Iterator[Event]:
        self._blocks.append(block)
        if self._live < 0:
            yield from self._next()
        while self._live < len(self._blocks) - 1 and self._blocks[self._live].is_whole:
            yield from self._stop()
            yield from self._next()

    def _write(self, block: _Block, text: str) -> Iterator[Event]:
        block.texts.append(text)
        if self._live < len(self._blocks) and block is self._blocks[self._live]:
            yield self._delta_event(block, text)
        else:
            block.held_back.append(text)

    def _next(self) -> Iterator[Event]:
        """Open the next block, if there is one, and tell what was held back of it."""
        self._live += 1
        if self._live >= len(self._blocks):
            return
        block = self._blocks[self._live]
        yield {"type": "content_block_start", "index": self._live, "content_block": block.start}
        if block.held_back:
            yield self._delta_event(block, "".join(block.held_back))
            block.held_back.clear()

    def _stop(self) -> Iterator[Event]:
        block = self._blocks[self._live]
        if block.kind == "thinking":
            mark = {"type": "signature_delta", "signature": signature("".join(block.texts))}
            yield {"type": "content_block_delta", "index": self._live, "delta": mark}
        yield {"type": "content_block_stop", "index": self._live}

    def _delta_event(self, block: _Block, text: str) -> Event:
        return {"type": "content_block_delta", "index": self._live, "delta": block.delta(text)}
