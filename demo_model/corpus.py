"""Reads the training text under ``corpus/``: what people ask and what ``guide`` answers.

One intent is one thing a person may want. Its questions are templates, one a
line (see ``phrasing.py`` for their notation); its answers are literal Markdown.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parent / "corpus"


@dataclass(frozen=True)
class Intent:
    """``more`` answers "tell me more" directly after one of ``answers``."""

    name: str
    topic: str
    questions: tuple[str, ...]
    answers: tuple[str, ...]
    more: tuple[str, ...] = ()


@dataclass(frozen=True)
class FollowUp:
    """Questions that make sense only after one of the intents in ``after``."""

    after: frozenset[str]
    questions: tuple[str, ...]
    intent: str


@dataclass(frozen=True)
class Corpus:
    """All training text. ``slots`` maps a slot's name to its possible fillings."""

    intents: dict[str, Intent]
    follow_ups: tuple[FollowUp, ...]
    slots: dict[str, tuple[str, ...]]
    openers: tuple[str, ...]
    closers: tuple[str, ...]
    more_questions: tuple[str, ...]
    system_prompts: tuple[str, ...]
    brief_prompts: tuple[str, ...]
    question_templates: tuple[str, ...] = field(default=())


def load_corpus(folder: Path = FOLDER) -> Corpus:
    """Load every file; a follow-up that names an unknown intent is a ``KeyError``."""
    speech = _read(folder / "speech.yaml")
    intents: dict[str, Intent] = {}
    for path in sorted((folder / "intents").glob("*.yaml")):
        for name, entry in _read(path).items():
            if name in intents:
                raise ValueError(f"intent {name!r} is defined twice")
            intents[name] = _intent(name, path.stem, entry)
    follow_ups = tuple(_follow_up(entry, intents) for entry in _read(folder / "follow_ups.yaml"))
    more_questions = _lines(speech["more"])
    return Corpus(
        intents=intents,
        follow_ups=follow_ups,
        slots={name: _fillings(text) for name, text in _read(folder / "slots.yaml").items()},
        openers=_lines(speech["openers"]),
        closers=_lines(speech["closers"]),
        more_questions=more_questions,
        system_prompts=_lines(speech["system"]),
        brief_prompts=_lines(speech["system_brief"]),
        question_templates=(
            *(question for intent in intents.values() for question in intent.questions),
            *(question for follow_up in follow_ups for question in follow_up.questions),
            *more_questions,
        ),
    )


def _intent(name: str, topic: str, entry: dict[str, Any]) -> Intent:
    answers = tuple(answer.strip() for answer in entry["answer"])
    more = tuple(answer.strip() for answer in entry.get("more", ()))
    return Intent(name, topic, _lines(entry["ask"]), answers, more)


def _follow_up(entry: dict[str, Any], intents: dict[str, Intent]) -> FollowUp:
    for name in (*entry["after"], entry["answer"]):
        if name not in intents:
            raise KeyError(f"follow_ups.yaml names the unknown intent {name!r}")
    return FollowUp(frozenset(entry["after"]), _lines(entry["ask"]), entry["answer"])


def _fillings(text: str) -> tuple[str, ...]:
    return tuple(filling.strip() for filling in text.replace("\n", ",").split(",") if filling.strip())


def _lines(text: str) -> tuple[str, ...]:
    return tuple(line.strip() for line in text.splitlines() if line.strip())


def _read(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))
