"""One prompt and two answers, stored as branches of one conversation.

The ids of both are stored in the conversation's metadata, so that a comparison is
found again after a reload, or by another process.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ui.api.errors import ApiError
from ui.api.schema import Response, Used
from ui.api.stream import Delta, Finished, Question
from ui.state.conversation import CHOSEN
from ui.state.generation import Answer
from ui.state.parameters import Parameters
from ui.state.question_title import question_title
from ui.state.submission import Shared

COMPARED = "compared"


@dataclass(frozen=True, slots=True)
class Side:
    """How one of the two is answered; the service chooses the temperature where it is None."""

    model: str
    temperature: float | None = None

    def asks(self, conversation_id: str, text: str) -> Question:
        """Return the question as the first of its conversation."""
        return Question(conversation_id, text, self.model, "", parameters=Parameters(temperature=self.temperature))


async def begin(shared: Shared, text: str, sides: Sequence[Side]) -> list[Answer]:
    """Ask all sides in a new conversation. Raises `ApiError`."""
    asks = await shared.asks()
    created = await shared.api.create_conversation(question_title(text), {"model": sides[0].model})
    shared.titles.expect(created.id, created.title or "")
    return [shared.generations.start(asks, side.asks(created.id, text), is_beside=True) for side in sides]


async def again(shared: Shared, failed: Answer, side: Side) -> Answer:
    """Retry one side after a failure. Raises `ApiError`."""
    question = side.asks(failed.question.conversation_id, failed.question.text)
    return shared.generations.start(await shared.asks(), question, is_beside=True)


async def remember(shared: Shared, answers: Sequence[Answer]) -> None:
    """Store in the conversation's metadata which answers are compared, once both have ids.

    A failure costs the comparison after a reload, not the answers.
    """
    ids = await asyncio.gather(*(answer.named() for answer in answers))
    id_ = answers[0].question.conversation_id
    if not all(ids):
        return
    try:
        await shared.api.keep(id_, lambda known: known | {COMPARED: " ".join(ids)})
    except ApiError:
        return


async def recall(shared: Shared, conversation_id: str) -> list[Answer]:
    """Return the answers that are compared in a conversation; none if there are none. Raises `ApiError`."""
    ids = (await shared.api.conversation(conversation_id)).metadata.get(COMPARED, "").split()
    known = {answer.response_id: answer for answer in shared.generations.all_of(conversation_id)}
    return [known.get(id_) or await _found(shared, conversation_id, id_) for id_ in ids]


async def keep(shared: Shared, answer: Answer) -> None:
    """Continue the conversation with that answer; the other is stopped and stays as a branch. Raises `ApiError`."""
    id_ = answer.question.conversation_id
    await shared.generations.stop(id_)
    replies = [item for item in (await shared.api.response(answer.response_id)).output if item.role == "assistant"]
    original = answer.question

    def chosen(known: dict[str, str]) -> dict[str, str]:
        parameters = replace(Parameters.of(known), model=original.model, temperature=original.parameters.temperature)
        return parameters.within(known) | ({CHOSEN: replies[-1].id} if replies else {})

    await shared.api.keep(id_, chosen)


async def _found(shared: Shared, conversation_id: str, response_id: str) -> Answer:
    response = await shared.api.response(response_id)
    original = await shared.api.input_messages(response_id)
    text = original[-1].text if original else ""
    question = Side(response.model, response.temperature).asks(conversation_id, text)
    if response.is_running:
        asks = await shared.asks()
        return shared.generations.take_up(asks, question, response_id, response.created_at)
    return _ended(question, response)


def _ended(question: Question, response: Response) -> Answer:
    answer = Answer(question, response.id, response.created_at)
    for item in response.output:
        answer.take(Delta(reasoning=item.text) if item.type == "reasoning" else Delta(item.text))
    is_cut = (response.incomplete_details or {}).get("reason") == "max_output_tokens"
    used = response.usage or Used()
    answer.take(Finished("length" if is_cut else "stop", used.input_tokens, used.output_tokens))
    if response.error is not None:
        answer.close("failed", ApiError(response.error.reason or response.error.code, response.error.message))
    else:
        answer.close("stopped" if response.status == "cancelled" else "done")
    return answer
