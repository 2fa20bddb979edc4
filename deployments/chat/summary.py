"""What a request was, once it has ended."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from deployments.chat.generation import Generation
from deployments.errors import ChatLLMError
from deployments.infra.timing import Timing
from deployments.models.protocol import Reply, Usage
from deployments.queueing.job import Job


class _Tokens(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class _Choice(msgspec.Struct):
    finish_reason: str | None = None


class _Answer(msgspec.Struct):
    """The fields that are read from a complete answer; its texts are skipped."""

    usage: _Tokens | None = None
    choices: list[_Choice] | None = None


@dataclass(slots=True)
class Summary:
    """What is known of a request once it has ended: for metrics, the log line and the response's headers."""

    model: str = ""
    cache: str = "BYPASS"
    cache_reason: str = ""
    cache_key: str = ""
    age_s: int | None = None
    prompt_estimate: int = 0
    """An estimate of the prompt's cost, used until its `prompt_tokens` are known."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    finish_reason: str = ""
    timing: Timing = field(default_factory=Timing)
    first_token_s: float | None = None
    failure: ChatLLMError | None = None
    """The error that ended the request, even if its stream reports it to the client in its own way."""
    ignored: Sequence[str] = ()
    """What of the request was left out because it was only offered, such as built-in tools."""
    generation: Generation | None = None
    """The generation that began for the request, if one did: its key pays for it (cost.py)."""
    job: Job = field(default_factory=Job)
    """How the queue of its model sees the request."""
    is_follower: bool = False
    """Whether the request only follows what is generated, and counted, without it."""
    is_left: bool = False
    """Whether another replica goes on with the request: nothing of it is kept or counted here."""

    @property
    def began(self) -> float:
        """When the request came, by `time.perf_counter`."""
        return self.timing.began

    @property
    def is_reused(self) -> bool:
        """Whether the look-up found an answer that another request pays for, or has paid for."""
        return self.cache in ("HIT", "JOIN")

    def note(self, body: bytes) -> None:
        """Read the usage and the finish reason from a complete answer in JSON."""
        answer = msgspec.json.decode(body, type=_Answer)
        usage = answer.usage or _Tokens()
        self.prompt_tokens, self.completion_tokens = usage.prompt_tokens or 0, usage.completion_tokens or 0
        self.finish_reason = next((choice.finish_reason or "" for choice in answer.choices or ()), "")

    def note_first(self, usage: Usage) -> None:
        """Note that the answer has begun, and what is known of its prompt by then."""
        self.timing.mark("first-frame")
        self.first_token_s = time.perf_counter() - self.began
        self.prompt_tokens = usage.prompt_tokens

    def note_usage(self, usage: Usage) -> None:
        """Take over the usage of an answer that was cut short."""
        self.prompt_tokens, self.completion_tokens = usage.prompt_tokens, usage.completion_tokens

    def note_reply(self, reply: Reply) -> None:
        """Take over what a model's replica reports about its answer."""
        self.timing.record_engine_times("first-frame", reply.times)
        self.prompt_tokens, self.completion_tokens = reply.prompt_tokens, reply.completion_tokens
        self.finish_reason = reply.finish_reason
