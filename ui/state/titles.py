"""Titles of conversations by the model: asked for once, when the first answer is there whole.

Until then, and where the model has no title to give, a conversation has its question's first sentence.
It keeps that where the key's limits are tight: a title is a request that counts.
"""

from collections.abc import Callable

from ui.api.client import Api
from ui.api.errors import Trouble
from ui.api.readiness import Readiness
from ui.api.schema import Me
from ui.files.message import pieces
from ui.state.generation import Answer, Generations
from ui.state.tasks import Tasks
from ui.state.watchers import Watchers

INSTRUCTION = (
    "Write a title for this conversation: two to six words, in its language, without quotation marks or a full stop. "
    "Answer with the title alone."
)
MAX_TOKENS = 32
TIGHT = 10
"""With a smaller limit, or with less than a quarter of it left, a key has no request to spare for a title."""
SAID_CHARS = 2_000
"""How much of the question and of the answer the model is shown."""
MAX_CHARS = 60
MAX_WORDS = 9
MAX_AWAITED = 500
MAX_RUNNING = 8
_AROUND = " \t\"'“”„‘’«»*_#`"


class Titles:
    """Titles for the conversations of one API key, whether or not a page watches."""

    def __init__(self, api: Api, generations: Generations, readiness: Readiness, *, is_on: bool = True) -> None:
        """`readiness` knows the models, of which small ones are not asked."""
        self._api, self._readiness, self._is_on = api, readiness, is_on
        self._awaited: dict[str, str] = {}
        self._tasks = Tasks()
        self._watchers: Watchers[[str, str]] = Watchers("titles")
        generations.watch(self._on_answer)

    def watch(self, watcher: Callable[[str, str], None]) -> Callable[[], None]:
        """Call `watcher` with a conversation's id and its new title; returns how to stop that."""
        return self._watchers.add(watcher)

    def expect(self, conversation_id: str, provisional: str) -> None:
        """Ask for a title when the conversation's next answer is there, unless it is `provisional` no more by then."""
        if not self._is_on:
            return
        self._awaited[conversation_id] = provisional
        while len(self._awaited) > MAX_AWAITED:
            del self._awaited[next(iter(self._awaited))]

    async def aclose(self) -> None:
        """Ask for no more titles; what has not come by now does not come."""
        self._awaited.clear()
        await self._tasks.aclose()

    def _on_answer(self, answer: Answer) -> None:
        if answer.state != "done" or answer.question.conversation_id not in self._awaited:
            return  # after one that failed, the next will do
        provisional = self._awaited.pop(answer.question.conversation_id)
        model = self._readiness.model(answer.question.model)
        if not answer.text or len(self._tasks) >= MAX_RUNNING or (model and not model.writes_titles):
            return
        self._tasks.start(self._name(answer, provisional), "title of a conversation")

    async def _name(self, answer: Answer, provisional: str) -> None:
        asked = answer.question
        said = [
            {"role": "user", "content": pieces(asked.text).text[:SAID_CHARS] or provisional},
            {"role": "assistant", "content": answer.text[:SAID_CHARS]},
            {"role": "user", "content": INSTRUCTION},
        ]
        try:
            if not _can_spare(await self._api.me()):
                return
            proposed = accepted(await self._api.complete(asked.model, said, MAX_TOKENS))
            if not proposed or (await self._api.conversation(asked.conversation_id)).title != provisional:
                return  # its reader has named or deleted it meanwhile
            await self._api.rename(asked.conversation_id, proposed)
        except Trouble:
            return  # the question's first sentence will do
        self._watchers.notify(asked.conversation_id, proposed)


def _can_spare(me: Me) -> bool:
    """Whether the key has a request to spare that its reader did not make."""
    at_once = me.limits.get("concurrent_requests")
    counted = [left for left in me.remaining.values() if left is not None]
    is_tight = any(left.limit < TIGHT or left.remaining * 4 < left.limit for left in counted)
    return not is_tight and (at_once is None or at_once > 1)


def accepted(proposed: str) -> str:
    """Return what a model proposed if it can be a title, which is one short line and no sentence; else nothing.

    Small models answer with something else, and the question's first sentence says more than that.
    """
    line = proposed.strip().removeprefix("Title:").strip(_AROUND)
    is_title = 0 < len(line) <= MAX_CHARS and len(line.split()) <= MAX_WORDS and line.isprintable()
    return line if is_title and line[-1] not in ".:;,…" else ""
