"""Questions kept out of the training text, each with what a sensible answer holds."""

import re
from dataclasses import dataclass
from pathlib import Path

import yaml

from demo_model.corpus import Corpus
from demo_model.phrasing import pattern, plain

HELD_OUT = Path(__file__).with_name("held_out.yaml")


@dataclass(frozen=True)
class Case:
    """``needs`` are regular expressions, all of which must be found in the answer.

    ``before`` holds the earlier turns of the conversation, the user's first.
    """

    question: str
    needs: tuple[str, ...]
    before: tuple[str, ...] = ()

    def missing(self, answer: str) -> list[str]:
        return [need for need in self.needs if not re.search(need, answer, re.IGNORECASE)]


def load_held_out(path: Path = HELD_OUT) -> list[Case]:
    entries = yaml.safe_load(path.read_text(encoding="utf-8"))
    return [Case(entry["ask"], tuple(entry["needs"]), tuple(entry.get("before", ()))) for entry in entries]


def leaked(cases: list[Case], corpus: Corpus) -> list[str]:
    """Held-out questions that a training template can produce, with or without an opener."""
    templates = "|".join(pattern(template, corpus.slots) for template in corpus.question_templates)
    openers = "|".join(plain(opener) for opener in corpus.openers)
    closers = "|".join(plain(closer) for closer in corpus.closers)
    written = re.compile(rf"(?:(?:{openers})\s*)?(?:{templates})\s*(?:{closers})?")
    return [case.question for case in cases if written.fullmatch(plain(case.question))]
