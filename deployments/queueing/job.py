"""One request, as the queue sees it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Priority = Literal["interactive", "batch"]
"""`batch` has only what `interactive` leaves."""
PRIORITIES: tuple[Priority, ...] = ("interactive", "batch")

Refusal = Literal["key_full", "full", "deadline", "max_wait"]
"""Why the queue refuses a job: too many of its key wait, or of all; its client would leave first; it has waited as long
as it may."""

ANSWER_COST = 2
"""What a token of an answer costs, in tokens of a prompt."""


@dataclass(eq=False, slots=True)
class Job:
    """What a request asks of a model's engines, of which key; `weight` is the key's share in relation to others'.

    `answer_tokens` bounds each of its `sequences`. `deadline_s` is how long its client waits, from `created`
    (monotonic seconds) on.
    """

    key_id: str = ""
    weight: int = 1
    priority: Priority = "interactive"
    prompt_tokens: int | None = None
    """Those of all prompts; None until the request has been put together."""
    answer_tokens: int = 0
    sequences: int = 1
    deadline_s: float | None = None
    created: float = 0.0
    is_patient: bool = False
    """Whether it waits for its turn however long that takes: no client holds a connection for it."""
    is_first_attempt: bool = False
    """Whether its client says that it has not been refused before."""
    is_waiting: bool = False
    notice: Callable[[], "Notice | None"] = lambda: None
    """Tells where it stands while it waits; None where it does not."""
    on_settled: Callable[[int, int], None] | None = None
    """Called with the tokens that it has used, once it has started."""

    def size(self, prompt_tokens: int) -> None:
        """Take an estimate of the prompt, unless its length is known."""
        if self.prompt_tokens is None:
            self.prompt_tokens = prompt_tokens

    def settle(self, prompt_tokens: int, completion_tokens: int) -> None:
        """Tell the queue what the job has used; only the first call counts."""
        settle, self.on_settled = self.on_settled, None
        if settle is not None:
            settle(prompt_tokens, completion_tokens)

    def left_s(self, now: float) -> float | None:
        """Return how long its client will still wait; None for as long as it takes."""
        return None if self.deadline_s is None else self.deadline_s - (now - self.created)

    def cost(self, expected_answer: float) -> float:
        """Return what it is expected to cost where an answer has so many tokens, as far as it may."""
        answer = min(self.answer_tokens, expected_answer) if self.answer_tokens else 0.0
        return cost_of(self.prompt_tokens or 0, answer * self.sequences)


@dataclass(frozen=True, slots=True)
class Notice:
    """Where a waiting request stands: how many go before it, counted from 1, and about how long; None: unknown."""

    position: int
    wait_s: float | None

    def __str__(self) -> str:
        about = "" if self.wait_s is None else f", about {max(1, round(self.wait_s))} s"
        return f"waiting in the queue, position {self.position}{about}"


def cost_of(prompt_tokens: float, completion_tokens: float) -> float:
    """Return what tokens cost."""
    return prompt_tokens + ANSWER_COST * completion_tokens
