"""Writes training dialogues: single questions, chains with follow-ups, long sittings."""

import random
from collections.abc import Iterator, Set
from dataclasses import dataclass

from demo_model.corpus import Corpus, Intent
from demo_model.phrasing import expand, plain, vary


@dataclass(frozen=True)
class Message:
    """``role`` is one of ``tokenizer.ROLES``."""

    role: str
    text: str


Dialogue = tuple[Message, ...]


class DialogueWriter:
    """An endless, seeded source of dialogues.

    ``without`` holds questions, in ``plain`` form, that must never be written:
    those kept for the evaluation.
    """

    def __init__(self, corpus: Corpus, seed: int, without: Set[str] = frozenset()) -> None:
        self._corpus = corpus
        self._rng = random.Random(seed)
        self._without = without
        self._intents = list(corpus.intents.values())
        self._weights = [min(60, 6 + len(intent.questions)) ** 0.6 for intent in self._intents]

    def __iter__(self) -> Iterator[Dialogue]:
        """All lengths: single questions, chains and now and then a sitting past 1,000 tokens."""
        while True:
            turns = self._rng.choices((1, self._rng.randint(2, 5), self._rng.randint(12, 26)), (84, 14, 2))[0]
            yield self.dialogue(turns)

    def single(self) -> Iterator[Dialogue]:
        """One question and its answer at a time."""
        while True:
            yield self.dialogue(1)

    def dialogue(self, turns: int) -> Dialogue:
        """``turns`` questions with their answers, at times after a system prompt."""
        messages: list[Message] = []
        brief = self._rng.random() < 0.05
        if brief:
            messages.append(Message("system", self._rng.choice(self._corpus.brief_prompts)))
        elif self._rng.random() < 0.15:
            messages.append(Message("system", self._rng.choice(self._corpus.system_prompts)))
        previous: Intent | None = None
        for _ in range(turns):
            question, intent, answers = self._turn(previous)
            answer = min(answers, key=len) if brief else self._rng.choice(answers)
            messages += [Message("user", question), Message("assistant", answer)]
            previous = intent
        return tuple(messages)

    def _turn(self, previous: Intent | None) -> tuple[str, Intent, tuple[str, ...]]:
        """The next question, the intent it leaves the talk at, and its possible answers."""
        if previous and previous.more and self._rng.random() < 0.2:
            return self._ask(self._corpus.more_questions), previous, previous.more
        follow_ups = [each for each in self._corpus.follow_ups if previous and previous.name in each.after]
        if follow_ups and self._rng.random() < 0.45:
            follow_up = self._rng.choice(follow_ups)
            intent = self._corpus.intents[follow_up.intent]
            return self._ask(follow_up.questions), intent, intent.answers
        intent = self._rng.choices(self._intents, self._weights)[0]
        return self._ask(intent.questions), intent, intent.answers

    def _ask(self, templates: tuple[str, ...]) -> str:
        while True:
            question = expand(self._rng.choice(templates), self._corpus.slots, self._rng)
            question = vary(question, self._corpus.openers, self._corpus.closers, self._rng)
            if plain(question) not in self._without:
                return question
