"""The chunks of a LangChain model as the deltas of a chat completion, and what they say about its end and cost."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from langchain_core.messages import AIMessage, AIMessageChunk

FINISH_REASONS: Mapping[str, str] = {
    **dict.fromkeys(("length", "max_tokens", "model_length", "model_context_window_exceeded", "incomplete"), "length"),
    **dict.fromkeys(("tool_calls", "tool_use", "function_call"), "tool_calls"),
    **dict.fromkeys(
        ("content_filter", "refusal", "safety", "recitation", "blocklist", "prohibited_content", "spii"),
        "content_filter",
    ),
}
"""Every provider's word for an end that is not a plain "stop"."""

FINISH_FIELDS = ("finish_reason", "stop_reason", "done_reason", "status")
"""Where the classes report it: OpenAI's and Google's, Anthropic's, Ollama's, OpenAI's responses."""


@dataclass(slots=True)
class Usage:
    """What an answer has cost, as far as its provider has reported it."""

    prompt: int = 0
    completion: int = 0
    cached: int | None = None
    reasoning: int | None = None
    is_reported: bool = False

    def add(self, reported: Mapping[str, Any]) -> None:
        """Take over a chunk's figures; those of all chunks add up to the whole."""
        self.is_reported = True
        self.prompt += reported.get("input_tokens") or 0
        self.completion += reported.get("output_tokens") or 0
        cached = (reported.get("input_token_details") or {}).get("cache_read")
        reasoning = (reported.get("output_token_details") or {}).get("reasoning")
        self.cached = self.cached if cached is None else (self.cached or 0) + cached
        self.reasoning = self.reasoning if reasoning is None else (self.reasoning or 0) + reasoning

    def body(self) -> dict[str, Any]:
        """Return the `usage` of a completion."""
        usage: dict[str, Any] = {
            "prompt_tokens": self.prompt,
            "completion_tokens": self.completion,
            "total_tokens": self.prompt + self.completion,
        }
        if self.cached is not None:
            usage["prompt_tokens_details"] = {"cached_tokens": self.cached}
        if self.reasoning is not None:
            usage["completion_tokens_details"] = {"reasoning_tokens": self.reasoning}
        return usage


class Deltas:
    """Reads the chunks of one answer in their order."""

    def __init__(self) -> None:
        self.usage = Usage()
        self.reported_finish = ""
        """The provider's word for why the answer ended, "" until it has sent one."""
        self.answer_bytes = 0
        self._calls: dict[object, int] = {}

    def read(self, chunk: AIMessage) -> Iterator[dict[str, Any]]:
        """Yield the `choices` entries of a chunk, without their index: none for one that says nothing."""
        metadata: Mapping[str, Any] = chunk.response_metadata
        if chunk.usage_metadata:
            self.usage.add(chunk.usage_metadata)
        self.reported_finish = next((str(metadata[n]) for n in FINISH_FIELDS if metadata.get(n)), self.reported_finish)
        logprobs = metadata.get("logprobs")
        for delta in self._deltas(chunk):
            self.answer_bytes += len(orjson.dumps(delta))
            yield {"delta": delta, "logprobs": logprobs if "content" in delta else None}

    def finish_reason(self, calls_are_reported: bool) -> str:
        """Return OpenAI's word for the end; `calls_are_reported` where the provider's says that tools were called."""
        reason = FINISH_REASONS.get(self.reported_finish.lower(), "stop")
        return "tool_calls" if reason == "stop" and self._calls and not calls_are_reported else reason

    def _deltas(self, chunk: AIMessage) -> Iterator[dict[str, Any]]:
        reasoning: Any = chunk.additional_kwargs.get("reasoning_content")
        if isinstance(reasoning, str) and reasoning:
            yield {"reasoning": reasoning}
        content: Any = chunk.content
        if isinstance(content, str):
            if content:
                yield {"content": content}
        else:
            yield from self._blocks(chunk, is_reasoned=bool(reasoning))
        if parts := [*self._parts(chunk)]:
            yield {"tool_calls": parts}

    def _blocks(self, chunk: AIMessage, is_reasoned: bool) -> Iterator[dict[str, Any]]:
        for block in chunk.content_blocks:
            if block["type"] == "text" and block.get("text"):
                yield {"content": block["text"]}
            elif block["type"] == "reasoning" and block.get("reasoning") and not is_reasoned:
                yield {"reasoning": block.get("reasoning")}

    def _parts(self, chunk: AIMessage) -> Iterator[dict[str, Any]]:
        """Yield what a chunk adds to calls. Their numbers count calls alone, while providers number all blocks."""
        if not isinstance(chunk, AIMessageChunk):
            for call in chunk.tool_calls:
                at = self._number(object())
                yield _opening(at, call.get("id"), call["name"], orjson.dumps(call["args"]).decode())
            return
        for part in chunk.tool_call_chunks:
            key = part.get("index")
            is_new = (key is None and bool(part.get("name"))) or (key is not None and key not in self._calls)
            at = self._number(object() if key is None else key) if is_new else self._known(key)
            text = part.get("args") or ""
            if is_new:
                yield _opening(at, part.get("id"), part.get("name") or "", text)
            elif text or part.get("name"):
                function = {"arguments": text, **({"name": part["name"]} if part.get("name") else {})}
                yield {"index": at, "function": function}

    def _number(self, key: object) -> int:
        return self._calls.setdefault(key, len(self._calls))

    def _known(self, key: object) -> int:
        return self._calls.get(key, max(0, len(self._calls) - 1))


def _opening(at: int, identifier: str | None, name: str, arguments: str) -> dict[str, Any]:
    function = {"name": name, "arguments": arguments}
    return {"index": at, "id": identifier or f"call_{at}", "type": "function", "function": function}
