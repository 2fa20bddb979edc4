"""Submits a question: creates the conversation if necessary, then starts the answer."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from ui.api.client import Api
from ui.api.errors import ApiError
from ui.api.readiness import Readiness
from ui.api.schema import Conversation, Response
from ui.api.stream import Asks, Question
from ui.files.pdf import PdfReader
from ui.markdown.pool import Renderer
from ui.state.changes import Changes
from ui.state.conversation import OpenConversation
from ui.state.deletions import Deletions
from ui.state.generation import Answer, Generations
from ui.state.question_title import question_title
from ui.state.thread import branch_point
from ui.state.titles import Titles


@dataclass(frozen=True, slots=True)
class Shared:
    """What all pages of one API key share; `asks` waits until the SDK is loaded."""

    api: Api
    generations: Generations
    readiness: Readiness
    asks: Callable[[], Awaitable[Asks]]
    deletions: Deletions
    changes: Changes
    pdfs: PdfReader
    titles: Titles
    renderer: Renderer


@dataclass(frozen=True, slots=True)
class NewQuestion:
    """A question and its position: after `parent` (see `Question`), or a retry of the last question."""

    text: str
    parent: str | None = None
    continues: str = ""
    is_retry: bool = False


async def begin(
    shared: Shared,
    conversation: OpenConversation,
    new: NewQuestion,
    model: str,
    on_created: Callable[[Conversation], None],
) -> Answer:
    """Start the answer and return it. Raises `ApiError`; a conversation that was created stays."""
    if conversation.id is None:
        conversation.parameters = replace(conversation.parameters, model=model)
        created = await shared.api.create_conversation(question_title(new.text), conversation.parameters.within({}))
        conversation.id, conversation.about, conversation.metadata = created.id, created, created.metadata
        shared.titles.expect(created.id, created.title or "")
        on_created(created)
    parent = new.parent
    if new.is_retry:
        parent = await _branch_point(shared.api, conversation.id, new.text)
    elif parent is None and conversation.leaf is not None:
        parent = conversation.leaf
    system = "" if new.continues else await conversation.system_for(parent)
    asks = await shared.asks()
    question = Question(
        conversation.id, new.text, model, parent, system, conversation.parameters, continues=new.continues
    )
    answer = shared.generations.start(asks, question)
    conversation.leaf = None
    return answer


async def take_up(shared: Shared, conversation: OpenConversation) -> None:
    """Follow running answers of the conversation that this process did not start, e.g. after a restart.

    Failures are ignored: the stored messages remain readable.
    """
    generations = shared.generations
    if conversation.id is None or generations.is_running(conversation.id):
        return
    try:
        running = (await shared.api.running(conversation.id))[::-1]
        running_questions = [(response, await _question(shared.api, conversation, response)) for response in running]
        if running_questions and not generations.is_running(conversation.id):  # nothing was asked here meanwhile
            asks = await shared.asks()
            for response, question in running_questions:
                generations.take_up(asks, question, response.id, response.created_at)
    except ApiError:
        return


async def _question(api: Api, conversation: OpenConversation, response: Response) -> Question:
    """Return the question of an answer."""
    inputs = (await api.input_messages(response.id))[-1:]
    last, id_ = inputs[0] if inputs else None, conversation.id or ""
    if last is None:
        return Question(id_, "", response.model)
    if last.role != "assistant":
        return Question(id_, last.text, response.model, last.parent_id or "")
    text = next((message.text for message in conversation.stored if message.id == last.parent_id), "")
    return Question(id_, text, response.model, last.parent_id, continues=last.text)


async def _branch_point(api: Api, conversation_id: str, text: str) -> str | None:
    try:
        return branch_point((await api.messages(conversation_id, limit=4)).data, text)
    except ApiError:
        return None
