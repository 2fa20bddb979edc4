"""What a conversation shows: the stored messages, and the answer that this process is writing or has just written."""

from collections.abc import Sequence
from dataclasses import dataclass

from ui.client import Message
from ui.generation import Answer

CLOCK_SKEW_S = 2.0


@dataclass(frozen=True, slots=True)
class Turn:
    """One message to show; `answer` is there when this process knows more of it than its text."""

    role: str
    text: str
    is_incomplete: bool = False
    answer: Answer | None = None


def turns(stored: Sequence[Message], answer: Answer | None) -> list[Turn]:
    """Merge `stored` (oldest first) with `answer`, so that nothing shows twice and nothing is lost.

    The service may have stored the question before its answer, both, or neither.
    """
    path = _path(stored)
    if answer is None:
        return [_turn(message) for message in path]
    if not answer.is_running and answer.text:
        for message in path[-8:]:
            if message.role == "assistant" and message.text.strip() == answer.text.strip():
                return [_turn(other, answer if other is message else None) for other in path]
    if answer.is_running and path and path[-1].role == "assistant" and _is_since(path[-1], answer):
        path = path[:-1]  # the reply has been stored in this moment; its end is on the way here, too
    shown = [_turn(message) for message in path]
    if not (path and path[-1].role == "user" and path[-1].text == answer.question.text):
        shown.append(Turn("user", answer.question.text))
    return [*shown, Turn("assistant", answer.text, answer=answer)]


def branch_point(newest_first: Sequence[Message], question: str) -> str | None:
    """Return the message that a repeated `question` should follow, if its first try was stored; else None."""
    for message in newest_first[:2]:
        if message.role == "user":
            return message.parent_id if message.text == question else None
    return None


def _path(stored: Sequence[Message]) -> list[Message]:
    """Follow the parents back from the newest message; where no message names one, all count."""
    path = list(stored)
    if any(message.parent_id for message in stored):
        by_id = {message.id: message for message in stored[:-1]}
        path = [stored[-1]]
        while (parent := by_id.pop(path[-1].parent_id or "", None)) is not None:
            path.append(parent)
        path.reverse()
    return [message for message, then in zip(path, [*path, None][1:], strict=True) if not _is_repeated(message, then)]


def _is_repeated(message: Message, then: Message | None) -> bool:
    return then is not None and message.role == then.role == "user" and message.text == then.text


def _is_since(message: Message, answer: Answer) -> bool:
    return message.created_at >= answer.asked_at_unix - CLOCK_SKEW_S


def _turn(message: Message, answer: Answer | None = None) -> Turn:
    return Turn(message.role, message.text, message.status == "incomplete", answer)
