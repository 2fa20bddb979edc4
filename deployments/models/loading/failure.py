"""Why a model did not load, as one sentence with its remedy, found in what the engine printed and raised.

vLLM's engine runs in a process of its own: what the replica's process raises is then only "See root cause
above", and the cause stands in the engine's output. Python prints the first error of a chain first, so the
errors are looked through in the order in which they were printed.

The sentences are for administrators: they hold paths and figures. Everybody else is told that the model could
not be loaded (`ModelFailed`).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from deployments.models.loading.failure_patterns import PATTERNS

MAX_SENTENCE = 600
MAX_LINE, MAX_ERROR = 1_000, 4_000
"""Characters that are looked at: patterns take time by the square of what they search."""
MARK = "ModelLoadFailed"


@dataclass(frozen=True, slots=True)
class LoadFailure:
    """A kind of failure, a sentence with its remedy, and whether another try can end differently."""

    code: str
    sentence: str
    may_pass: bool = False


class ModelLoadFailed(Exception):
    """A replica could not load its model; the text is the sentence, which Serve repeats in the deployment's state."""

    def __init__(self, sentence: str = "", code: str = "unknown", may_pass: bool = False) -> None:
        super().__init__(sentence, code, may_pass)

    @property
    def failure(self) -> LoadFailure:
        """What went wrong."""
        sentence, code, may_pass = self.args
        return LoadFailure(code, sentence, may_pass)

    def __str__(self) -> str:
        return self.failure.sentence


NOTHING_ELSE = re.compile(r"See root cause above|Engine core initialization failed|EngineDeadError|stack trace above")
PREFIX = re.compile(r"^(?:\([\w.:]+(?: pid=\d+|=\d+)?[^)]*\) ?)?(?:(?:ERROR|WARNING|INFO) \S+ \S+ \[[^\]]+\] ?)?")
ERROR = re.compile(
    r"^(?P<type>(?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:Error|Exception|Failed|Interrupt|Compiler|Exit|Enabled)): ?"
)
TRACEBACK = "Traceback (most recent call last):"


def diagnose(printed: str, raised: BaseException | None = None) -> LoadFailure:
    """Return why a model did not load, by what its engine printed and what was raised in the replica."""
    found = [*errors_in(printed), *_chain(raised)]
    for text in found:
        if not NOTHING_ELSE.search(text) and (known := classify(text)):
            return known
    for text in found:  # a process that was killed prints nothing; that it was stands in what the other raises
        if known := classify(text):
            return known
    telling = next((text for text in found if not NOTHING_ELSE.search(text)), "")
    return LoadFailure(
        "unknown", _shortened(telling) or "The engine ended without a reason; see the replica's log.", True
    )


def classify(text: str) -> LoadFailure | None:
    """Return the kind and the sentence of one error's text; None where the table has no pattern for it."""
    for one in PATTERNS:
        if match := one.pattern.search(text[:MAX_ERROR]):
            return LoadFailure(one.code, _filled(one.sentence, match), one.may_pass)
    return None


def errors_in(printed: str) -> Iterator[str]:
    """Yield the errors at the ends of the tracebacks in a program's output, without the prefixes of its log."""
    in_traceback, text = False, list[str]()
    for raw in printed.splitlines():
        line = PREFIX.sub("", raw[:MAX_LINE])
        if TRACEBACK in line:
            if text:
                yield "\n".join(text)
            in_traceback, text = True, []
        elif text:
            if line.strip() and not line.startswith(("During handling", "The above exception")) and len(text) < 20:
                text.append(line)
            else:
                yield "\n".join(text)
                text = []
        elif in_traceback and line[:1].strip() and (ERROR.match(line) or not line.startswith((" ", "\t", "|"))):
            if ERROR.match(line):
                text = [line]
            in_traceback = not text
    if text:
        yield "\n".join(text)


def _chain(error: BaseException | None) -> list[str]:
    """Return an exception and what caused it, the first cause first."""
    found: list[str] = []
    while error is not None and len(found) < 10:
        found.append(f"{type(error).__name__}: {error}")
        error = error.__cause__ or error.__context__
    return found[::-1]


def _filled(sentence: str, match: re.Match[str]) -> str:
    """Put a match's groups into a sentence; `name2` stands for `name`, and what is not known for itself."""
    groups: dict[str, str] = {}
    for name, value in match.groupdict().items():
        if value:
            groups.setdefault(name.rstrip("23"), _tidy(value))
    return _cut(re.sub(r"\{(\w+)\}", lambda field: groups.get(field[1], UNNAMED.get(field[1], "…")), sentence))


def _tidy(value: str) -> str:
    return " ".join(value.split()).strip("'\"").removesuffix(".0")


UNNAMED = {"repo": "The model", "path": "The model's folder", "most": "less", "name": "of that name"}


def _shortened(text: str) -> str:
    return _cut(" ".join(text[:MAX_ERROR].partition("\n")[0].split()))


def _cut(text: str) -> str:
    return text if len(text) <= MAX_SENTENCE else f"{text[:MAX_SENTENCE]}…"


def in_message(message: str) -> LoadFailure | None:
    """Return why a replica failed by what Serve says of its deployment; None if it says nothing about a failure."""
    if marked := re.search(rf"{MARK}: (?P<sentence>[^\n]+)", message):
        return LoadFailure("unknown", _cut(marked["sentence"].strip()))
    return classify(message)
