"""Answers while they are written. They belong to their conversation, not to the browser that asked:
a reload or a second tab finds the running answer here and goes on watching it.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import aclosing
from typing import Literal

from ui.stream import Asks, Delta, Event, Finished, Question, Started
from ui.trouble import Trouble

MAX_RUNNING = 200
MAX_KEPT = 500  # running and finished ones together; a finished one only serves its figures and its error
MAX_ANSWER_CHARS = 400_000
ANSWER_TIMEOUT_S = 1800.0

State = Literal["waiting", "streaming", "done", "stopped", "failed"]


class Answer:
    """One answer, from the question to its end. Times are `time.monotonic()` seconds but for `asked_at_unix`."""

    def __init__(self, question: Question) -> None:
        self.question = question
        self.state: State = "waiting"
        self.text = question.continues
        self.reasoning = ""
        self.trouble: Trouble | None = None
        self.from_cache = False
        self.was_joined = False
        self.request_id = ""
        self.end = Finished("")
        self.version = 0
        self.asked_at = time.monotonic()
        self.asked_at_unix = time.time()
        self.first_token_at: float | None = None
        self.ended_at: float | None = None
        self._changed = asyncio.Event()

    @property
    def is_running(self) -> bool:
        """Whether more may come."""
        return self.state in ("waiting", "streaming")

    async def changed_since(self, version: int) -> None:
        """Wait until there is more than at `version`; returns at once for an answer that has ended."""
        while self.version == version and self.is_running:
            await self._changed.wait()

    def take(self, event: Event) -> None:
        """Let the next event of the stream in."""
        match event:
            case Started():
                self.from_cache, self.request_id = event.from_cache, event.request_id
                self.was_joined = event.was_joined
            case Delta():
                self.state = "streaming"
                self.first_token_at = self.first_token_at or time.monotonic()
                self.text += event.text
                self.reasoning += event.reasoning
            case Finished():
                self.end = event
        self._touch()

    def close(self, state: State, trouble: Trouble | None = None) -> None:
        """End the answer, once and for all."""
        self.state, self.trouble = state, trouble
        self.ended_at = time.monotonic()
        self._touch()

    def _touch(self) -> None:
        self.version += 1
        self._changed.set()
        self._changed = asyncio.Event()


class Generations:
    """The newest answer of each conversation, and the tasks that write them."""

    def __init__(self) -> None:
        self._answers: dict[str, Answer] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._watchers: set[Callable[[Answer], None]] = set()

    def of(self, conversation_id: str | None) -> Answer | None:
        """Return the conversation's newest answer, if this process has written one lately."""
        return self._answers.get(conversation_id or "")

    def is_running(self, conversation_id: str | None) -> bool:
        """Whether an answer is being written in this conversation."""
        return (answer := self.of(conversation_id)) is not None and answer.is_running

    def watch(self, watcher: Callable[[Answer], None]) -> Callable[[], None]:
        """Call `watcher` when any answer begins and when it ends; returns how to stop that."""
        self._watchers.add(watcher)
        return lambda: self._watchers.discard(watcher)

    @property
    def watchers(self) -> int:
        """How many watch."""
        return len(self._watchers)

    def start(self, asks: Asks, question: Question) -> Answer:
        """Begin an answer. Raises `Trouble` where one is running already or too many are."""
        if self.is_running(question.conversation_id) or len(self._tasks) >= MAX_RUNNING:
            raise Trouble("busy_page")
        answer = Answer(question)
        self._keep(answer)
        task = asyncio.create_task(_write(asks, answer), name=f"answer in {question.conversation_id}")
        self._tasks[question.conversation_id] = task
        task.add_done_callback(lambda _: self._ended(answer))
        self._tell(answer)
        return answer

    def stop(self, conversation_id: str | None) -> None:
        """Cancel the conversation's running answer: the HTTP request closes, what has come is kept."""
        if task := self._tasks.get(conversation_id or ""):
            task.cancel()

    def forget(self, conversation_id: str) -> None:
        """Stop and drop what belongs to a deleted conversation."""
        self.stop(conversation_id)
        self._answers.pop(conversation_id, None)

    async def aclose(self) -> None:
        """Stop all answers and wait until their requests are closed."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _keep(self, answer: Answer) -> None:
        self._answers.pop(answer.question.conversation_id, None)
        self._answers[answer.question.conversation_id] = answer
        while len(self._answers) > MAX_KEPT:
            oldest = next(key for key, kept in self._answers.items() if not kept.is_running)
            del self._answers[oldest]

    def _ended(self, answer: Answer) -> None:
        self._tasks.pop(answer.question.conversation_id, None)
        self._tell(answer)

    def _tell(self, answer: Answer) -> None:
        for watcher in list(self._watchers):
            watcher(answer)


async def _write(asks: Asks, answer: Answer) -> None:
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT_S), aclosing(asks.ask(answer.question)) as events:
            async for event in events:
                answer.take(event)
                if len(answer.text) + len(answer.reasoning) > MAX_ANSWER_CHARS:
                    raise Trouble("too_long", request_id=answer.request_id)
    except asyncio.CancelledError:
        answer.close("stopped")
        raise
    except TimeoutError:
        answer.close("failed", Trouble("too_slow", request_id=answer.request_id))
    except Trouble as trouble:
        trouble.request_id = trouble.request_id or answer.request_id
        answer.close("failed", trouble)
    except Exception as error:  # noqa: BLE001  the border of the task: a watcher must never wait for ever
        answer.close("failed", Trouble("unexpected", type(error).__name__, answer.request_id))
    else:
        answer.close("done")
