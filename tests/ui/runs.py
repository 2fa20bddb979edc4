"""The stand-in's answers: responses that go on whoever listens, as the service's do."""

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.ui.stand_in import Behaviour, StandIn


@dataclass(eq=False)
class Run:
    """One response, counted from 1: what was asked, its items, its events so far, and what it says."""

    body: dict[str, Any]
    number: int
    asked: list[str] = field(default_factory=list)
    id: str = field(default_factory=lambda: f"resp_{uuid.uuid4().hex[:16]}")
    created_at: float = field(default_factory=time.time)
    events: list[dict[str, Any]] = field(default_factory=list)
    status: str = "in_progress"
    stand_in: str = ""
    text: str = ""
    output: list[dict[str, Any]] = field(default_factory=list)
    usage: dict[str, int] | None = None
    error: dict[str, Any] | None = None
    task: "asyncio.Task[None] | None" = None

    @property
    def is_over(self) -> bool:
        return self.status != "in_progress"

    def shown(self) -> dict[str, Any]:
        model = self.stand_in or self.body["model"]
        head = {"id": self.id, "object": "response", "model": model, "created_at": int(self.created_at)}
        told = {"status": self.status, "background": True, "temperature": self.body.get("temperature")}
        return head | told | {"output": self.output, "usage": self.usage, "error": self.error}

    def tell(self, kind: str, **fields: Any) -> None:
        self.events.append({"type": f"response.{kind}", "sequence_number": len(self.events), **fields})

    def end(self, status: str) -> None:
        self.status = status
        self.tell("incomplete" if status == "cancelled" else status, response=self.shown())


async def write(api: "StandIn", run: Run) -> None:
    """Answer a response to its end, as `api.behaviour` says."""
    behaviour = api.behaviour
    tokens = tokens_of(behaviour.answer)
    is_held = behaviour.held_model in ("", run.body["model"])
    is_failing = behaviour.failing_request in (0, run.number)
    api.seen.running += 1
    run.tell("created", response=run.shown())
    try:
        await asyncio.sleep(behaviour.first_token_delay_s)
        run.stand_in = stand_in_for(behaviour, run.body["model"])
        run.tell("in_progress", response=run.shown(), x_cache="HIT" if behaviour.from_cache else "BYPASS")
        if behaviour.reasoning:
            run.tell("reasoning_text.delta", delta=behaviour.reasoning)
        for index, token in enumerate(tokens):
            if is_failing and behaviour.fail_after == index:
                wait = {} if behaviour.retry_after is None else {"retry_after_s": float(behaviour.retry_after)}
                failure = {"code": "server_error", "reason": behaviour.fail_reason, "message": "The model failed."}
                run.error = failure | wait
                store(api, run, "incomplete")
                return run.end("failed")
            while is_held and behaviour.hold_after == index and not api.go_on.is_set():  # set by another thread
                await asyncio.sleep(0.01)
            run.text += token
            run.tell("output_text.delta", delta=token)
            api.seen.tokens_sent += 1
            await asyncio.sleep(behaviour.token_delay_s)
        run.usage = {"input_tokens": 7, "output_tokens": len(tokens)} if behaviour.usage else None
        store(api, run, "completed")
        api.seen.finished += 1
        run.end("completed")
    except asyncio.CancelledError:
        api.seen.cancelled += 1
        store(api, run, "incomplete")
        run.end("cancelled")
    finally:
        api.seen.running -= 1


def stand_in_for(behaviour: "Behaviour", model: str) -> str:
    """Return the fallback that answers where a model cannot."""
    if behaviour.models.get(model) in ("ready", "asleep"):
        return ""
    return next((other for other in behaviour.fallback.get(model, ()) if behaviour.models.get(other) == "ready"), "")


def store(api: "StandIn", run: Run, status: str) -> None:
    """Keep what was said."""
    conversation_id = run.body.get("conversation")
    if conversation_id not in api.items or not run.text:
        return
    parent = run.asked[-1]
    if api.behaviour.reasoning:
        parent = api.add_message(conversation_id, "assistant", api.behaviour.reasoning, parent=parent)
        thought = api.items[conversation_id][-1]
        thought["type"] = "reasoning"
        del thought["role"]
        run.output.append(thought)
    api.add_message(conversation_id, "assistant", run.text, status, parent=parent)
    run.output.append(api.items[conversation_id][-1])


async def follow(api: "StandIn", run: Run, after: int) -> AsyncIterator[bytes]:
    """Send the events past that number until the last one; a broken stream ends or breaks off once."""
    behaviour = api.behaviour
    try:
        at = after + 1
        while True:
            while at < len(run.events):
                said = sum(event["type"].endswith("text.delta") for event in run.events[: at + 1])
                if behaviour.cut_after is not None and said > behaviour.cut_after:
                    behaviour.cut_after = None
                    return
                if behaviour.break_after is not None and said > behaviour.break_after:
                    behaviour.break_after = None
                    raise ConnectionResetError
                yield _frame(run.events[at])
                at += 1
                if at == 1 and behaviour.comment:
                    yield f": {behaviour.comment}\n\n".encode()
            if run.is_over or behaviour.is_away:
                return
            await asyncio.sleep(max(0.005, behaviour.token_delay_s / 2))
    except asyncio.CancelledError:
        api.seen.disconnects += 1
        raise


def tokens_of(text: str) -> list[str]:
    """Cut a text into pieces of about a token's length."""
    words = text.split(" ")
    return [word if index == 0 else f" {word}" for index, word in enumerate(words)]


def _frame(event: dict[str, Any]) -> bytes:
    return f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()
