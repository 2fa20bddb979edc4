"""What is asked for: prompts of random words whose lengths follow a distribution, made from a seed."""

import math
import random
from dataclasses import dataclass
from typing import Any

WORDS = """
time year people way day man thing woman life child world school state family student group country problem hand
part place case week company system program question work government number night point home water room mother
area money story fact month lot right study book eye job word business issue side kind head house service friend
father power hour game line end member law car city community name president team minute idea kid body
information back parent face others level office door health person art war history party result change morning
reason research girl guy moment air teacher force education
""".split()  # noqa: SIM905  a list would take a line for each word
LONGEST_TOKENS = 32_768
REPEATED_PROMPTS = 10


@dataclass(frozen=True, slots=True)
class Length:
    """A number of tokens: log-normal with this mean, or exactly the mean where `sigma` is 0."""

    mean: float
    sigma: float
    least: int = 1
    most: int = LONGEST_TOKENS

    def draw(self, chance: random.Random) -> int:
        """Return a length."""
        value = self.mean
        if self.sigma:
            value = chance.lognormvariate(math.log(self.mean) - self.sigma**2 / 2, self.sigma)
        return max(self.least, min(self.most, round(value)))


@dataclass(frozen=True, slots=True)
class Lengths:
    """Of prompts and of answers."""

    name: str
    prompt: Length
    answer: Length


SHAREGPT = Lengths("sharegpt", Length(161, 1.1, 4, 1024), Length(338, 0.85, 4, 1024))
"""The mean lengths of ShareGPT's conversations as the paper on vLLM has them (Kwon et al. 2023, section 6.1)."""


@dataclass(frozen=True, slots=True)
class Mix:
    """Which requests are sent, in which shares (0 to 1)."""

    models: tuple[str, ...]
    lengths: Lengths
    prefixes: int = 0
    """Different system prompts that all requests share; 0: none."""
    prefix_tokens: int = 0
    turns: int = 1
    think_s: float = 5.0
    """Mean seconds between the end of an answer and the next turn of its session."""
    is_stored: bool = False
    """Whether the service keeps the sessions as conversations, else each turn sends all before it."""
    plain: float = 0.0
    repeated: float = 0.0


@dataclass(slots=True)
class Session:
    """Who asks, and what was said so far."""

    number: int
    model: str
    messages: list[dict[str, Any]]
    conversation: str = ""


@dataclass(frozen=True, slots=True)
class PlannedRequest:
    """One request to be sent."""

    model: str
    body: dict[str, Any]
    max_tokens: int
    is_stream: bool


class Workload:
    """Draws sessions and their requests; the same seed gives the same ones, but for a mark that keeps them new."""

    def __init__(self, mix: Mix, seed: int, mark: str, tokens_per_word: float) -> None:
        self.mix = mix
        self._chance = random.Random(seed)
        self._mark = mark
        self._tokens_per_word = tokens_per_word
        fixed = random.Random(seed + 1)
        self._prefixes = [self._text(fixed, mix.prefix_tokens) for _ in range(mix.prefixes)]
        self._repeated = [f"{fixed.choice(WORDS)} {fixed.choice(WORDS)} {n}" for n in range(REPEATED_PROMPTS)]
        self._count = 0

    def session(self) -> Session:
        """Return a new session, which begins with a shared prefix if there are any."""
        self._count += 1
        model = self.mix.models[self._count % len(self.mix.models)]
        prefix = [{"role": "system", "content": self._chance.choice(self._prefixes)}] if self._prefixes else []
        return Session(self._count, model, [*prefix])

    def next_request(self, session: Session) -> PlannedRequest:
        """Return the next request of a session, whose messages it extends by the question."""
        chance, mix = self._chance, self.mix
        max_tokens, is_stream = mix.lengths.answer.draw(chance), chance.random() >= mix.plain
        words, sampling = self._text(chance, mix.lengths.prompt.draw(chance)), {"temperature": 0.0}
        question = f"({self._mark}-{session.number}-{len(session.messages)}) {words}"
        if mix.repeated and chance.random() < mix.repeated:
            question = chance.choice(self._repeated)
        message = {"role": "user", "content": question}
        session.messages.append(message)
        body: dict[str, Any] = {
            "model": session.model,
            "messages": [message] if session.conversation else list(session.messages),
            "max_tokens": max_tokens,
            "ignore_eos": True,
            **sampling,
        }
        if session.conversation:
            body["conversation"] = session.conversation
        if is_stream:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        return PlannedRequest(session.model, body, max_tokens, is_stream)

    def think_s(self) -> float:
        """Return seconds between an answer and the next turn."""
        return self._chance.expovariate(1 / self.mix.think_s)

    def _text(self, chance: random.Random, tokens: int) -> str:
        return " ".join(chance.choices(WORDS, k=max(1, round(tokens / self._tokens_per_word))))
