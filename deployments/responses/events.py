"""From the chunks of a chat completion to the events of a response, and to its output.

One reasoning, message or function call of the model is one item. Reasoning and
text end when something else begins, and begin anew if there is more of them
later; function calls, whose arguments may come in turns, end with the stream.
(OpenAI API reference, "Streaming events"; vLLM calls what a model reasons `reasoning`.)
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from deployments.history.types import NewItem
from deployments.responses.custom_input import CustomInput
from deployments.responses.tools import ClientTool

Event = dict[str, Any]
CALLS = {"function_call": "function_call_arguments", "custom_tool_call": "custom_tool_call_input"}
"""The kinds of calls, and what their events are about."""
PREFIXES = {"reasoning": "rs", "message": "msg", "function_call": "fc", "custom_tool_call": "ctc"}


def frame(event: Event) -> bytes:
    """Return an event as a server-sent event."""
    return b"event: " + event["type"].encode() + b"\ndata: " + orjson.dumps(event) + b"\n\n"


@dataclass(slots=True)
class _Item:
    """An item that may still grow."""

    id: str
    kind: str
    position: int
    texts: list[str] = field(default_factory=list[str])
    logprobs: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    call_id: str = ""
    tool: ClientTool = field(default_factory=lambda: ClientTool(""))
    custom: CustomInput = field(default_factory=CustomInput)
    status: str = "in_progress"

    @property
    def text(self) -> str:
        return "".join(self.texts)

    def document(self) -> dict[str, Any]:
        """Return the item in OpenAI's shape, as far as it has got."""
        head = {"id": self.id, "type": self.kind, "status": self.status}
        if self.kind in CALLS:
            payload = {"input": self.custom.text} if self.tool.is_custom else {"arguments": self.text}
            namespace = {"namespace": self.tool.namespace} if self.tool.namespace else {}
            return {**head, "call_id": self.call_id, "name": self.tool.name, **payload, **namespace}
        content = [self.part()] if self.texts else []
        if self.kind == "reasoning":
            return {**head, "summary": [], "content": content}
        return {**head, "role": "assistant", "content": content}

    def part(self) -> dict[str, Any]:
        """Return the one part of a message's or of reasoning's content."""
        if self.kind == "reasoning":
            return {"type": "reasoning_text", "text": self.text}
        return {"type": "output_text", "text": self.text, "annotations": [], "logprobs": [*self.logprobs]}


class Translator:
    """Follows the one answer to a response. `number` is the `sequence_number` of the next event."""

    def __init__(self, response_id: str, number: int = 0, tools: Mapping[str, ClientTool] | None = None) -> None:
        """`tools` are those of the client by the names that the model uses."""
        self.number = number
        self._tools = tools or {}
        self.usage: Mapping[str, Any] | None = None
        self.finish_reason: str | None = None
        self._response_id = response_id
        self._items: list[_Item] = []
        self._open: _Item | None = None  # the reasoning or the text that grows now
        self._calls: dict[int, _Item] = {}

    def event(self, kind: str, **fields: Any) -> Event:
        """Return the next event."""
        self.number += 1
        return {"type": kind, "sequence_number": self.number - 1, **fields}

    def created(self, response: Mapping[str, Any]) -> Event:
        """Return the event with which a stream begins."""
        return self.event("response.created", response=response)

    def answering(self, response: Mapping[str, Any], cache: str) -> Event:
        """Return the event of an answer's beginning; `x_cache`, this service's own, is what the header `X-Cache` is."""
        return self.event("response.in_progress", response=response, x_cache=cache)

    def add(self, chunk: Mapping[str, Any]) -> list[Event]:
        """Take a `chat.completion.chunk` and return what it adds."""
        self.usage = chunk.get("usage") or self.usage
        events: list[Event] = []
        for choice in chunk.get("choices") or ():
            if choice.get("index", 0) == 0:
                events.extend(self._choice(choice, choice.get("delta") or {}))
        return events

    def recover(self, frames: bytes) -> None:
        """Take the events of a lost run: what it has reasoned and said; half a function call is worth nothing."""
        for line in frames.splitlines():
            event = orjson.loads(line.removeprefix(b"data: ")) if line.startswith(b"data: ") else {}
            match event.get("type"):
                case "response.output_text.delta":
                    self.add({"choices": [{"delta": {"content": event["delta"]}}]})
                case "response.reasoning_text.delta":
                    self.add({"choices": [{"delta": {"reasoning": event["delta"]}}]})
                case _:
                    pass

    def add_whole(self, completion: Mapping[str, Any]) -> None:
        """Take a whole `chat.completion`."""
        self.usage = completion.get("usage")
        for choice in completion.get("choices") or ():
            message = choice.get("message") or {}
            calls = [{**call, "index": at} for at, call in enumerate(message.get("tool_calls") or ())]
            for _ in self._choice(choice, {**message, "tool_calls": calls}):
                pass

    def close(self, is_whole: bool) -> list[Event]:
        """End every item, the last ones as incomplete unless the answer is whole; return the events of that."""
        events: list[Event] = []
        if is_whole and not self._items:
            events.extend(self._begin("message"))
        for item in (self._open, *self._calls.values()):
            if item is not None:
                events.extend(self._end(item, "completed" if is_whole else "incomplete"))
        self._open = None
        self._calls.clear()
        return events

    @property
    def pieces(self) -> int:
        """In how many pieces the model has spoken so far, which is about how many tokens."""
        return sum(len(item.texts) for item in self._items)

    def output(self) -> tuple[dict[str, Any], ...]:
        """Return the items in OpenAI's shape."""
        return tuple(item.document() for item in self._items)

    def new_items(self, parent: str, incomplete_reason: str | None = None) -> list[NewItem]:
        """Return the items to be stored, each after the one before it, the first after `parent`.

        An incomplete one says by `incomplete_reason` why the model stopped, as its response does.
        """
        items: list[NewItem] = []
        for document in self.output():
            own = {k: v for k, v in document.items() if k not in ("id", "type", "status", "role")}
            if incomplete_reason and document["status"] == "incomplete":
                own["incomplete_details"] = {"reason": incomplete_reason}
            item = NewItem(own, document["id"], parent, document["type"], document.get("role"), document["status"])
            items.append(item)
            parent = item.id
        return items

    def _choice(self, choice: Mapping[str, Any], delta: Mapping[str, Any]) -> Iterator[Event]:
        reasoning = delta.get("reasoning") or delta.get("reasoning_content")
        if reasoning:
            yield from self._say("reasoning", reasoning, ())
        if delta.get("content"):
            yield from self._say("message", delta["content"], (choice.get("logprobs") or {}).get("content") or ())
        for call in delta.get("tool_calls") or ():
            yield from self._call(call)
        self.finish_reason = choice.get("finish_reason") or self.finish_reason

    def _say(self, kind: str, text: str, tokens: Iterable[Mapping[str, Any]]) -> Iterator[Event]:
        if self._open is None or self._open.kind != kind:
            yield from self._begin(kind)
        item = self._open
        assert item is not None
        item.texts.append(text)
        fields: dict[str, Any] = {**_where(item), "delta": text}
        if kind == "message":
            fields["logprobs"] = logprobs = [_logprob(token) for token in tokens]
            item.logprobs.extend(logprobs)
        yield self.event(f"response.{_text_kind(item)}.delta", **fields)

    def _begin(self, kind: str) -> Iterator[Event]:
        if self._open is not None:
            yield from self._end(self._open, "completed")
        item = self._open = self._new(kind)
        yield self.event("response.output_item.added", output_index=item.position, item=item.document())
        yield self.event("response.content_part.added", **_where(item), part=item.part())

    def _call(self, call: Mapping[str, Any]) -> Iterator[Event]:
        index, function = int(call.get("index") or 0), call.get("function") or {}
        if self._open is not None:
            yield from self._end(self._open, "completed")
            self._open = None
        item = self._calls.get(index)
        if item is None:
            item = self._calls[index] = self._new_call(call.get("id"), function.get("name") or "")
            yield self.event("response.output_item.added", output_index=item.position, item=item.document())
        elif function.get("name"):
            item.tool = replace(item.tool, name=item.tool.name + function["name"])
        if piece := function.get("arguments"):
            item.texts.append(piece)
            yield from self._argue(item, item.custom.add(piece) if item.tool.is_custom else piece)

    def _argue(self, item: _Item, delta: str) -> Iterator[Event]:
        if delta:
            yield self.event(f"response.{CALLS[item.kind]}.delta", **_place(item), delta=delta)

    def _end(self, item: _Item, status: str) -> Iterator[Event]:
        if not item.texts:
            item.texts.append("")  # an empty text is a part as well
        if item.kind == "function_call":
            fields = {**_place(item), "arguments": item.text, "name": item.tool.name}
            yield self.event("response.function_call_arguments.done", **fields)
        elif item.kind == "custom_tool_call":
            yield from self._argue(item, item.custom.close())
            yield self.event("response.custom_tool_call_input.done", **_place(item), input=item.custom.text)
        else:
            payload = {"logprobs": [*item.logprobs]} if item.kind == "message" else {}
            yield self.event(f"response.{_text_kind(item)}.done", **_where(item), text=item.text, **payload)
            yield self.event("response.content_part.done", **_where(item), part=item.part())
        item.status = status
        yield self.event("response.output_item.done", output_index=item.position, item=item.document())

    def _new_call(self, call_id: str | None, name: str) -> _Item:
        tool = self._tools.get(name) or ClientTool(name)
        item = self._new("custom_tool_call" if tool.is_custom else "function_call")
        item.call_id = call_id or f"call_{item.id.partition('_')[2]}"
        item.tool = tool
        return item

    def _new(self, kind: str) -> _Item:
        position = len(self._items)
        # The same for every try of a response, so that writing its items again changes nothing.
        digest = hashlib.sha256(f"{self._response_id}:{position}".encode()).hexdigest()[:40]
        item = _Item(f"{PREFIXES[kind]}_{digest}", kind, position)
        self._items.append(item)
        return item


def _place(item: _Item) -> dict[str, Any]:
    return {"item_id": item.id, "output_index": item.position}


def _where(item: _Item) -> dict[str, Any]:
    return {**_place(item), "content_index": 0}


def _text_kind(item: _Item) -> str:
    return "output_text" if item.kind == "message" else "reasoning_text"


def _logprob(token: Mapping[str, Any]) -> dict[str, Any]:
    top = [_token(other) for other in token.get("top_logprobs") or ()]
    return {**_token(token), "top_logprobs": top}


def _token(token: Mapping[str, Any]) -> dict[str, Any]:
    text = str(token.get("token") or "")
    own = token.get("bytes")
    return {
        "token": text,
        "logprob": token.get("logprob"),
        "bytes": list(text.encode()) if own is None else own,
    }
