"""Answers while they are written: the service writes them, whoever watches, and this process follows.

They belong to their conversation, not to the browser that asked: a reload or a second
tab finds the running answer here, and a new process finds it at the service.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing, suppress
from typing import Literal

from ui.api.errors import ApiError
from ui.api.stream import Answering, Asks, Delta, Event, Finished, Question, Queued, Started
from ui.state.tasks import log_failure
from ui.state.watchers import Watchers

MAX_RUNNING = 200
MAX_KEPT = 500  # running and finished ones together; a finished one only serves its figures and its error
MAX_KEPT_CHARS = 20_000_000  # of their questions, which hold images, and texts
MAX_ANSWER_CHARS = 400_000
ANSWER_TIMEOUT_S = 1800.0
MAX_LIMIT_WAIT_S = 600.0  # in all; what is refused for longer has failed

State = Literal["waiting", "streaming", "done", "stopped", "failed"]


class Answer:
    """One answer, from the question to its end. Times are `time.monotonic()` seconds but for `requested_at_unix`.

    `response_id` is the service's name for it, once it has one. `was_taken_up` says that
    another process had asked for it, so that nobody knows when its first token came.
    `model` answers: that of the question, or another one in its place.
    `queued` tells where the question stands while its model is busy.
    `sends_at` is set while the key's limit is reached: the question is asked again then.
    """

    def __init__(self, question: Question, response_id: str = "", requested_at_unix: float | None = None) -> None:
        """With a `response_id` it is an answer that is being written already."""
        self.question = question
        self.response_id = response_id
        self.was_taken_up = bool(response_id)
        self.state: State = "waiting"
        self.text = question.continues
        self.reasoning = ""
        self.error: ApiError | None = None
        self.sends_at: float | None = None
        self.queued: Queued | None = None
        self.from_cache = False
        self.was_joined = False
        self.model = question.model
        self.request_id = ""
        self.end = Finished("")
        self.version = 0
        self.requested_at = time.monotonic()
        self.requested_at_unix = time.time() if requested_at_unix is None else requested_at_unix
        self.first_token_at: float | None = None
        self.ended_at: float | None = None
        self._changed = asyncio.Event()
        self._is_given_up = asyncio.Event()

    @property
    def is_running(self) -> bool:
        """Whether more may come."""
        return self.state in ("waiting", "streaming")

    @property
    def chars(self) -> int:
        """How much it holds."""
        return len(self.question.text) + len(self.text) + len(self.reasoning)

    async def changed_since(self, version: int) -> None:
        """Wait until there is more than at `version`; returns at once for an answer that has ended."""
        while self.version == version and self.is_running:
            await self._changed.wait()

    async def named(self) -> str:
        """Wait until the service has a name for it, and return that; "" for one that never got so far."""
        while not self.response_id and self.is_running:
            await self._changed.wait()
        return self.response_id

    async def wait_for_limit(self, refusal: ApiError, wait_s: float) -> None:
        """Wait until the question may be asked again; whoever shows the answer learns every second how long that is.

        Raises `refusal` where the reader does not want to wait.
        """
        self.sends_at = until = time.monotonic() + wait_s
        self._is_given_up.clear()
        while (left_s := until - time.monotonic()) > 0 and not self._is_given_up.is_set():
            self._touch()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._is_given_up.wait(), min(1.0, left_s))
        self.sends_at = None
        self._touch()
        if self._is_given_up.is_set():
            raise refusal

    def give_up(self) -> None:
        """Stop waiting for the rate limit and do not retry."""
        self._is_given_up.set()

    def take(self, event: Event) -> None:
        """Apply the next event of the stream."""
        match event:
            case Started():
                self.response_id, self.request_id = event.response_id, event.request_id
            case Queued():
                self.queued = event
            case Answering():
                self.queued = None
                self.from_cache, self.was_joined = event.from_cache, event.was_joined
                self.model = event.model or self.model
            case Delta():
                self.queued = None
                self.state = "streaming"
                self.first_token_at = self.first_token_at or time.monotonic()
                self.text += event.text
                self.reasoning += event.reasoning
            case Finished():
                self.end = event
        self._touch()

    def close(self, state: State, error: ApiError | None = None) -> None:
        """Mark the answer as ended."""
        self.state, self.error = state, error
        self.ended_at = time.monotonic()
        self._touch()

    def _touch(self) -> None:
        self.version += 1
        self._changed.set()
        self._changed = asyncio.Event()


class Generations:
    """The newest answers of each conversation, and the tasks that follow them.

    A conversation has one at a time, or several that were asked for side by side.
    """

    def __init__(self) -> None:
        self._answers: dict[str, list[Answer]] = {}
        self._tasks: dict[Answer, asyncio.Task[None]] = {}
        self._asks: dict[Answer, Asks] = {}
        self._watchers: Watchers[[Answer]] = Watchers("answers")

    def of(self, conversation_id: str | None) -> Answer | None:
        """Return the conversation's newest answer, if this process has followed one lately."""
        return answers[-1] if (answers := self.all_of(conversation_id)) else None

    def all_of(self, conversation_id: str | None) -> list[Answer]:
        """Return the conversation's newest answer and those beside it, in the order of their asking."""
        return list(self._answers.get(conversation_id or "", ()))

    def is_running(self, conversation_id: str | None) -> bool:
        """Whether an answer is being written in this conversation."""
        return any(answer.is_running for answer in self.all_of(conversation_id))

    def watch(self, watcher: Callable[[Answer], None]) -> Callable[[], None]:
        """Call `watcher` when any answer starts or ends. Returns a function that stops it."""
        return self._watchers.add(watcher)

    @property
    def watchers(self) -> int:
        """The number of watchers."""
        return len(self._watchers)

    def start(self, asks: Asks, question: Question, *, is_beside: bool = False) -> Answer:
        """Start an answer. Raises `ApiError` if one is already running, unless `is_beside` is set."""
        if not is_beside and self.is_running(question.conversation_id):
            raise ApiError("busy_page")
        answer = Answer(question)
        return self._follow(asks, answer, _events_of(asks, answer), is_beside)

    def take_up(self, asks: Asks, question: Question, response_id: str, requested_at_unix: float) -> Answer:
        """Follow an answer that is already running; repeated calls return the same one. Raises `ApiError`."""
        for known in self.all_of(question.conversation_id):
            if known.response_id == response_id and known.is_running:
                return known
        answer = Answer(question, response_id, requested_at_unix)
        is_beside = self.is_running(question.conversation_id)
        return self._follow(asks, answer, asks.take_up(response_id), is_beside)

    async def stop(self, conversation_id: str | None) -> None:
        """Stop the conversation's running answers; received text is kept. Raises `ApiError`."""
        await self._stop_all(self.all_of(conversation_id))

    async def forget(self, conversation_id: str) -> None:
        """Stop and drop the answers of a deleted conversation."""
        answers = self._answers.pop(conversation_id, [])
        with suppress(ApiError):  # the service itself stops answers of a deleted conversation
            await self._stop_all(answers)

    async def aclose(self) -> None:
        """Stop following answers and wake all waiters; the service continues the answers."""
        answers, tasks = list(self._tasks), list(self._tasks.values())
        self._watchers.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for answer in answers:
            if answer.is_running:
                answer.close("failed", ApiError("cut_off", request_id=answer.request_id))

    async def _stop_all(self, answers: Iterable[Answer]) -> None:
        stopping = (self._stop(answer) for answer in answers if answer.is_running)
        for error in await asyncio.gather(*stopping, return_exceptions=True):
            if isinstance(error, BaseException):
                raise error

    async def _stop(self, answer: Answer) -> None:
        if answer.sends_at is not None:
            return answer.give_up()
        if (response_id := await answer.named()) and (asks := self._asks.get(answer)):
            await asks.cancel(response_id)
        return None

    def _follow(self, asks: Asks, answer: Answer, events: AsyncGenerator[Event], is_beside: bool) -> Answer:
        if len(self._tasks) >= MAX_RUNNING:
            raise ApiError("busy_page")
        conversation_id = answer.question.conversation_id
        self._keep(answer, is_beside)
        task = asyncio.create_task(_write(asks, answer, events), name=f"answer in {conversation_id}")
        self._tasks[answer], self._asks[answer] = task, asks
        task.add_done_callback(lambda task: self._ended(task, answer))
        self._watchers.notify(answer)
        return answer

    def _keep(self, answer: Answer, is_beside: bool) -> None:
        """Store an answer as the newest of its conversation, alone or beside others."""
        before = self._answers.pop(answer.question.conversation_id, [])
        self._answers[answer.question.conversation_id] = [*(before if is_beside else ()), answer]
        chars = {key: sum(each.chars for each in answers) for key, answers in self._answers.items()}
        left = sum(chars.values())
        for oldest in [key for key, each in self._answers.items() if not any(map(self._is_followed, each))]:
            if len(self._answers) <= MAX_KEPT and left <= MAX_KEPT_CHARS:
                break
            left -= chars[oldest]
            del self._answers[oldest]

    def _is_followed(self, answer: Answer) -> bool:
        """Whether it is running, or its end has not been announced to the watchers."""
        return answer.is_running or answer in self._tasks

    def _ended(self, task: asyncio.Task[None], answer: Answer) -> None:
        del self._tasks[answer], self._asks[answer]
        if not task.cancelled() and (error := task.exception()) is not None:
            log_failure(f"the task {task.get_name()!r} failed", error)
        self._watchers.notify(answer)


async def _events_of(asks: Asks, answer: Answer) -> AsyncGenerator[Event]:
    """Ask the question, and retry when the rate limit allows; a rejected question is not stored. Raises `ApiError`."""
    until = time.monotonic() + MAX_LIMIT_WAIT_S
    while True:
        try:
            async with aclosing(asks.ask(answer.question)) as events:
                async for event in events:
                    yield event
            return
        except ApiError as refusal:
            wait_s = refusal.retry_after_s  # without it, the request exceeds the limit at any time
            if answer.response_id or not refusal.is_limit or not wait_s or time.monotonic() + wait_s > until:
                raise
            await answer.wait_for_limit(refusal, wait_s)


async def _write(asks: Asks, answer: Answer, events: AsyncGenerator[Event]) -> None:
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT_S), aclosing(events):
            async for event in events:
                answer.take(event)
                if len(answer.text) + len(answer.reasoning) > MAX_ANSWER_CHARS:
                    raise ApiError("too_long", request_id=answer.request_id)
    except TimeoutError:
        await _give_up(asks, answer, ApiError("too_slow", request_id=answer.request_id))
    except ApiError as error:
        error.request_id = error.request_id or answer.request_id
        if error.code == "too_long":
            await _give_up(asks, answer, error)
        else:
            answer.close("failed", error)
    except Exception as error:  # noqa: BLE001  the border of the task: a watcher must never wait for ever
        answer.close("failed", ApiError("unexpected", type(error).__name__, answer.request_id))
    else:
        answer.close("stopped" if answer.end.reason == "cancelled" else "done")


async def _give_up(asks: Asks, answer: Answer, error: ApiError) -> None:
    """Fail an answer and cancel it at the service."""
    answer.close("failed", error)
    if answer.response_id:
        with suppress(ApiError):
            await asks.cancel(answer.response_id)
