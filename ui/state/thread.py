"""What a conversation shows: one path through its branches, and the current answer."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ui.api.schema import Message
from ui.state.generation import Answer
from ui.state.tree import Tree

CLOCK_SKEW_S = 2.0


@dataclass(frozen=True, slots=True)
class Turn:
    """One message to show; `answer` is set if this process knows more about it than its text.

    `id` is empty until the message is known to be stored. `parent` is what a message in
    its place would follow ("" for the first one). `versions` are the ids to go to for this
    turn and its alternatives, of which `version` is the shown one's place. An incomplete one
    that `is_cut` ends at its length limit.
    """

    role: str
    text: str
    is_incomplete: bool = False
    answer: Answer | None = None
    id: str = ""
    parent: str = ""
    versions: tuple[str, ...] = ()
    version: int = 0
    reasoning: str = ""
    is_cut: bool = False


def turns(stored: Sequence[Message], answer: Answer | None, leaf: str | None = None) -> list[Turn]:
    """Merge `stored` (oldest first) with `answer` without duplicates or gaps.

    Shows the path to `leaf`, or to the newest message. The service may have stored the
    question before its answer, both, or neither.
    """
    tree = Tree(stored)
    if answer is None or (leaf is not None and not answer.is_running):
        return _with_figures(_turns(tree, tree.path(leaf)), answer)
    path = tree.path(leaf)
    shown = _turns(tree, path)
    completed = _with_figures(shown, answer)
    if completed is not shown:
        return completed
    pending = answer.question
    if answer.is_running and shown and shown[-1].role == "assistant" and _is_since(path[-1], answer):
        shown = shown[:-1]  # the reply has just been stored; its end event is still on the way
    if pending.parent is not None:
        shown = _until(shown, pending.parent, pending.text)
    if not (shown and shown[-1].role == "user" and shown[-1].text == pending.text):
        shown.append(Turn("user", pending.text, parent=pending.parent or (shown[-1].id if shown else "")))
    return [*shown, Turn("assistant", answer.text, answer=answer, parent=shown[-1].id)]


def branch_point(newest_first: Sequence[Message], question: str) -> str | None:
    """Return the parent ("" for none) of a retried `question` if its first attempt was stored; else None."""
    for message in [message for message in newest_first if message.role][:2]:  # a thought stands between the two
        if message.role == "user":
            return (message.parent_id or "") if message.text == question else None
    return None


def _turns(tree: Tree, path: Sequence[Message]) -> list[Turn]:
    """Return the path as shown: consecutive parts of one answer are joined, the system prompt is hidden."""
    made: list[Turn] = []
    for message in path:
        if message.role == "assistant" and made and made[-1].role == "assistant":
            text, is_incomplete = made[-1].text + message.text, message.status == "incomplete"
            made[-1] = replace(made[-1], text=text, id=message.id, is_incomplete=is_incomplete, is_cut=message.is_cut)
        elif message.role in ("user", "assistant"):
            made.append(_turn(tree, message))
    return made


def _turn(tree: Tree, message: Message) -> Turn:
    versions = tree.versions(message)
    return Turn(
        message.role,
        message.text,
        message.status == "incomplete",
        None,
        message.id,
        message.parent_id or "",
        tuple(version.id for version in versions),
        next((at for at, version in enumerate(versions) if version.id == message.id), 0),
        message.reasoning,
        message.is_cut,
    )


def _with_figures(shown: list[Turn], answer: Answer | None) -> list[Turn]:
    """Attach the statistics of a finished answer to the stored one."""
    if answer is None or answer.is_running or not answer.text:
        return shown
    for at in range(len(shown) - 1, max(-1, len(shown) - 9), -1):
        if shown[at].role == "assistant" and shown[at].text.strip() == answer.text.strip():
            return [*shown[:at], replace(shown[at], answer=answer), *shown[at + 1 :]]
    return shown


def _until(shown: list[Turn], parent: str, question: str) -> list[Turn]:
    """Cut the path where a question follows `parent`, with the question itself if it is there already."""
    for at, turn in enumerate(shown):
        if turn.role == "user" and (turn.id == parent or turn.parent == parent):
            return shown[: at + 1] if turn.text == question else shown[:at]
    return shown


def _is_since(message: Message, answer: Answer) -> bool:
    return message.created_at >= answer.requested_at_unix - CLOCK_SKEW_S
