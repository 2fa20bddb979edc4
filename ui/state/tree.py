"""The branches of a conversation, as far as its messages are known."""

from collections.abc import Iterable, Sequence

from ui.api.schema import Message


class Tree:
    """Messages by parent; the newest one ends the shown branch unless another one is chosen."""

    def __init__(self, stored: Sequence[Message]) -> None:
        """Take messages, oldest first. Where none names a parent, each follows the one before it."""
        self._stored = _without_repetitions(folded(_linked(stored)))
        self._by_id = {message.id: message for message in self._stored}
        self._after: dict[str, list[Message]] = {}
        for message in self._stored:
            self._after.setdefault(message.parent_id or "", []).append(message)

    def path(self, leaf: str | None = None) -> list[Message]:
        """Return the messages from the first known one to `leaf`, or to the newest."""
        end = self._by_id.get(leaf or "") or (self._stored[-1] if self._stored else None)
        seen: set[str] = set()
        path: list[Message] = []
        while end is not None and end.id not in seen:
            seen.add(end.id)
            path.append(end)
            end = self._by_id.get(end.parent_id or "")
        return path[::-1]

    def leaf(self, message_id: str) -> str:
        """Return the newest message of those that follow `message_id`, over any number of steps; itself if none."""
        at, seen = message_id, {message_id}
        while (after := self._after.get(at)) and after[-1].id not in seen:
            at = after[-1].id
            seen.add(at)
        return at

    def chosen(self, message_id: str | None) -> str | None:
        """Return the answer of that id, if what is newest was said beside it and not after it, or elsewhere; else None.

        A choice between two answers holds until the conversation has gone on, with either.
        """
        chosen = self._by_id.get(message_id or "")
        if chosen is None or self._place(chosen) != self._place(self._stored[-1]):
            return None
        return chosen.id

    def versions(self, message: Message) -> list[Message]:
        """Return a message and its alternatives, in the order of their writing.

        Those of a question differ in their text. Those of an answer are all that were given
        to the same words in the same place, whether or not the question was stored again.
        """
        if message.role == "assistant":
            question = self._by_id.get(message.parent_id or "")
            if question is None or question.role != "user":
                return [message]
            same = [other for other in self._beside(question) if other.role == "user" and other.text == question.text]
            given = [answer for other in same for answer in self._after.get(other.id, ()) if answer.role == "assistant"]
            return [answer for answer in given if answer is message or not self._is_continued(answer, given)]
        by_text = {other.text: other for other in self._beside(message) if other.role == message.role}
        by_text[message.text] = message
        return list(by_text.values())

    def _place(self, message: Message) -> tuple[str | None, str] | None:
        """Return where a question stands and its words; of an answer, those of its question."""
        question = message if message.role == "user" else self._by_id.get(message.parent_id or "")
        return (question.parent_id, question.text) if question is not None and question.role == "user" else None

    def _beside(self, message: Message) -> Iterable[Message]:
        return self._after.get(message.parent_id or "", ())

    def _is_continued(self, answer: Message, given: list[Message]) -> bool:
        """Whether a truncated answer was continued in a copy."""
        return answer.status == "incomplete" and any(
            other is not answer and other.text == answer.text and other.status != "incomplete" for other in given
        )


def folded(stored: Sequence[Message]) -> list[Message]:
    """Move each reasoning item into the message that follows it."""
    thoughts = {message.id: message for message in stored if message.type == "reasoning"}
    kept: list[Message] = []
    for message in stored:
        if message.id in thoughts:
            continue
        parent_id, thought = message.parent_id, ""
        for _ in thoughts:  # several in a row, and no more than there are
            if (before := thoughts.get(parent_id or "")) is None:
                break
            parent_id, thought = before.parent_id, before.text + thought
        changed = {"parent_id": parent_id, "reasoning": thought}
        kept.append(message if parent_id == message.parent_id else message.model_copy(update=changed))
    return kept


def _linked(stored: Sequence[Message]) -> list[Message]:
    if any(message.parent_id for message in stored):
        return list(stored)
    before = [None, *(message.id for message in stored)]
    return [message.model_copy(update={"parent_id": id_}) for message, id_ in zip(stored, before, strict=False)]


def _without_repetitions(stored: Sequence[Message]) -> list[Message]:
    """Drop a question that repeats its parent: the first attempt was stored without an answer."""
    kept: list[Message] = []
    moved: dict[str, str | None] = {}
    by_id = {message.id: message for message in stored}
    for message in stored:
        parent = by_id.get(message.parent_id or "")
        if parent is not None and parent.role == message.role == "user" and parent.text == message.text:
            moved[parent.id] = parent.parent_id
    for message in stored:
        if message.id not in moved:
            parent_id = message.parent_id
            for _ in range(len(moved)):
                parent_id = moved.get(parent_id or "", parent_id)
            kept.append(message.model_copy(update={"parent_id": parent_id}))
    return kept
