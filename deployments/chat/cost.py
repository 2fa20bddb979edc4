"""What a key pays for a request: the generation that the request began, to its end, whoever reads it."""

from collections.abc import Callable
from dataclasses import dataclass

from deployments.cache.entry import EVENT_END
from deployments.chat.generation import Generation
from deployments.chat.summary import Summary
from deployments.models.protocol import Reply, Usage


@dataclass(frozen=True, slots=True)
class Cost:
    """Tokens that count against the key's limits, and `cached_tokens`, which do not."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0

    @property
    def tokens(self) -> int:
        """The tokens that count."""
        return self.prompt_tokens + self.completion_tokens


def when_final(summary: Summary, settle: Callable[[Cost], None], prompt_estimate: int | None = None) -> None:
    """Call `settle` once with the cost of a request that has ended: now, or when its generation ends.

    A generation goes on after the request that began it while other requests read it. Those pay nothing: what they
    read counts as cached. `prompt_estimate` stands for the prompt of an answer that was cut short before the model
    reported its length; by default it is the summary's.
    """
    generation = summary.generation
    estimate = summary.prompt_estimate if prompt_estimate is None else prompt_estimate
    if generation is None:
        settle(_of_others(summary) if summary.is_reused else Cost(summary.prompt_tokens, summary.completion_tokens))
    else:
        generation.when_ended(lambda: _settle(_of_own(generation, summary, estimate), summary, settle))


def _settle(cost: Cost, summary: Summary, settle: Callable[[Cost], None]) -> None:
    if cost.tokens:
        summary.job.settle(cost.prompt_tokens, cost.completion_tokens)
    settle(cost)


def _of_own(generation: Generation, summary: Summary, prompt_estimate: int) -> Cost:
    if generation.is_relayed:
        return _of_others(summary)
    used = _used(generation)
    is_unknown = not used.prompt_tokens and (used.completion_tokens or generation.is_stopped)
    return Cost(prompt_estimate if is_unknown else used.prompt_tokens, used.completion_tokens)


def _used(generation: Generation) -> Usage:
    """Return the tokens that a generation has used; one that was cut short, about one for each event."""
    if isinstance(generation.end, Reply):
        return Usage(generation.end.prompt_tokens, generation.end.completion_tokens)
    events = sum(data.count(EVENT_END) for data in generation.frames(0))
    return Usage(generation.usage.prompt_tokens, max(generation.usage.completion_tokens, events))


def _of_others(summary: Summary) -> Cost:
    """Return the cost of an answer that was generated for another request."""
    return Cost(cached_tokens=summary.prompt_tokens + summary.completion_tokens)
