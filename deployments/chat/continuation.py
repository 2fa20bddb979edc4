"""Continuing an answer whose generation was lost: the same request again, less what has been sent.

    sent      Hel · lo wo
    again     H · ello · world
    goes on   rld

What is made again is compared with what was sent, letter by letter, for each
choice and each of its fields. Where they differ the answer ends in failure: a
text that nobody generated is never sent. The whole answer is put together from
what was sent, so that the ids of tool calls and the log probabilities in it are
those that the client has.
"""

from dataclasses import replace
from typing import Any

import orjson

from deployments.errors import Unavailable
from deployments.models.assembly import assemble, payloads, sse
from deployments.models.protocol import Failed, Frames, Message, Reply

DIFFERS = "The model's replica was lost, and the answer could not be continued; please try again."

Path = tuple[int | str, ...]


class Continuation:
    """Takes the messages of the same request, generated again, and returns what of them has not been sent."""

    def __init__(self, sent: bytes) -> None:
        """`sent` are the complete events that were sent so far, at least one."""
        events = payloads(sent)
        self._sent = [sent]
        self._head = {name: events[0][name] for name in ("id", "created") if name in events[0]}
        self._texts: dict[Path, str] = {}
        self._tokens: dict[Path, int] = {}
        self._begun: set[int] = set()
        self._finished: set[int] = set()
        for choice in assemble(events)["choices"]:
            self._note(choice)

    def rest(self, message: Message) -> Message | None:
        """Return what is left of `message`, None for nothing; a failure where it differs from what was sent."""
        try:
            if isinstance(message, Frames):
                data = b"".join(map(self._event, payloads(message.data)))
                return Frames(data) if data else None
            if isinstance(message, Reply):
                if any(self._texts.values()):
                    return _failed()
                return replace(message, body=orjson.dumps(self._whole(orjson.loads(message.body))))
        except _Differs:
            return _failed()
        return message

    def _whole(self, again: dict[str, Any]) -> dict[str, Any]:
        """Return the whole answer, as it was sent, from the one that was generated again."""
        sent = {choice["index"]: choice for choice in assemble(payloads(b"".join(self._sent)))["choices"]}
        choices = [{**choice, **sent.get(choice["index"], {})} for choice in again["choices"]]
        return {**again, **self._head, "choices": choices}

    def _note(self, choice: dict[str, Any]) -> None:
        """Keep the text of one choice, assembled from its events."""
        index = choice["index"]
        self._begun.add(index)
        if choice.get("finish_reason"):
            self._finished.add(index)
        content = choice.get("message") or {"text": choice.get("text")}
        for name, value in content.items():
            if isinstance(value, str) and name != "role":
                self._texts[index, name] = value
        for at, call in enumerate(content.get("tool_calls") or []):
            for name in ("name", "arguments"):
                self._texts[index, "tool", at, name] = call["function"][name]
        for name, value in _token_lists(choice).items():
            self._tokens[index, name] = len(value)

    def _event(self, event: dict[str, Any]) -> bytes:
        choices = [rest for choice in event.get("choices", ()) if (rest := self._choice(choice))]
        if not choices and event.get("choices"):
            return b""
        self._sent.append(rest := sse({**event, **self._head, "choices": choices}))
        return rest

    def _choice(self, choice: dict[str, Any]) -> dict[str, Any] | None:
        index = choice["index"]
        content = choice.get("delta") if "delta" in choice else {"text": choice.get("text") or ""}
        left = {name: rest for name, value in (content or {}).items() if (rest := self._remaining(index, name, value))}
        if index not in self._begun:
            return choice
        if index in self._finished:
            if left:
                raise _Differs
            return None
        if choice.get("finish_reason") and any(text for path, text in self._texts.items() if path[0] == index):
            raise _Differs
        self._skip_tokens(choice)
        if not (left or choice.get("finish_reason") or any(_token_lists(choice).values())):
            return None
        return choice | ({"delta": left} if "delta" in choice else {"text": left.get("text", "")})

    def _remaining(self, index: int, name: str, value: Any) -> Any:
        if name == "role":
            return None
        if name == "tool_calls":
            return [call for part in value if (call := self._call(index, part))]
        return self._text((index, name), value) if isinstance(value, str) else value

    def _call(self, index: int, part: dict[str, Any]) -> dict[str, Any] | None:
        at = part.get("index", 0)
        if (index, "tool", at, "name") not in self._texts:
            return part
        function = part.get("function") or {}
        left = {
            name: rest
            for name in ("name", "arguments")
            if (rest := self._text((index, "tool", at, name), function.get(name) or ""))
        }
        return {"index": at, "function": left} if left else None

    def _text(self, path: Path, new: str) -> str:
        """Return the end of `new` that has not been sent; raises _Differs."""
        sent = self._texts.get(path, "")
        length = min(len(sent), len(new))
        if sent[:length] != new[:length]:
            raise _Differs
        self._texts[path] = sent[length:]
        return new[length:]

    def _skip_tokens(self, choice: dict[str, Any]) -> None:
        """Remove from the lists of tokens, in place, as many as have been sent."""
        for name, value in _token_lists(choice).items():
            sent = self._tokens.get((choice["index"], name), 0)
            self._tokens[choice["index"], name] = max(0, sent - len(value))
            del value[:sent]


class _Differs(Exception):
    """The new generation differs from what was sent."""


def _failed() -> Failed:
    return Failed(Unavailable(DIFFERS, None, 1.0))


def _token_lists(choice: dict[str, Any]) -> dict[str, list[Any]]:
    """Return the lists of a choice that hold an element for each token."""
    lists = {f"logprobs.{name}": value for name, value in (choice.get("logprobs") or {}).items()}
    lists["token_ids"] = choice.get("token_ids")
    return {name: value for name, value in lists.items() if isinstance(value, list)}
