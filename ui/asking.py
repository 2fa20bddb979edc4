"""From a text to a running answer: the conversation is created if need be, then the service is asked."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from ui.client import Api, Conversation
from ui.conversation import OpenConversation
from ui.deletions import Deletions
from ui.generation import Answer, Generations
from ui.readiness import Readiness
from ui.sidebar import shorten
from ui.stream import Asks, Question
from ui.thread import branch_point
from ui.trouble import Trouble


@dataclass(frozen=True, slots=True)
class Shared:
    """What all pages of the process have in common; `asks` waits until the SDK is loaded."""

    api: Api
    generations: Generations
    readiness: Readiness
    asks: Callable[[], Awaitable[Asks]]
    deletions: Deletions


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be asked, and where: after `parent` (see `Question`), or as a repetition of the last question."""

    text: str
    parent: str | None = None
    continues: str = ""
    is_retry: bool = False


async def begin(
    shared: Shared,
    conversation: OpenConversation,
    asked: Asked,
    model: str,
    on_created: Callable[[Conversation], None],
) -> Answer:
    """Start the answer and return it. Raises `Trouble`; a conversation that was created by then stays."""
    if conversation.id is None:
        created = await shared.api.create_conversation(
            shorten(asked.text), conversation.parameters.within({"model": model})
        )
        conversation.id, conversation.metadata = created.id, created.metadata
        on_created(created)
    parent = asked.parent
    if asked.is_retry:
        parent = await _branch_point(shared.api, conversation.id, asked.text)
    elif parent is None and conversation.leaf is not None:
        parent = conversation.leaf
    system = "" if asked.continues else await conversation.system_for(parent)
    asks = await shared.asks()
    question = Question(
        conversation.id, asked.text, model, parent, system, conversation.parameters, continues=asked.continues
    )
    answer = shared.generations.start(asks, question)
    conversation.leaf = None
    return answer


async def _branch_point(api: Api, conversation_id: str, text: str) -> str | None:
    try:
        return branch_point((await api.messages(conversation_id, limit=2)).data, text)
    except Trouble:
        return None
