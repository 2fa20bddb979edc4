"""Turns a question template into the many ways in which people really type it.

A template is plain text with two notations: ``{slot}`` stands for any filling
of that slot, ``[one|two|]`` for one of the alternatives, here also for none.
"""

import random
import re

_CHOICE = re.compile(r"\[([^\[\]]*)\]")
_SPARE = frozenset(
    ["a", "an", "the", "do", "does", "is", "are", "to", "of", "it", "i", "my", "me", "be", "this", "that", "can"]
)
_SLOT = re.compile(r"\{(\w+)\}")


def expand(template: str, slots: dict[str, tuple[str, ...]], rng: random.Random) -> str:
    """One sentence out of ``template``; fillings may hold alternatives themselves."""
    text = template
    while _SLOT.search(text) or _CHOICE.search(text):
        text = _SLOT.sub(lambda found: rng.choice(slots[found[1]]), text)
        text = _CHOICE.sub(lambda found: rng.choice(found[1].split("|")), text)
    return " ".join(text.split())


def pattern(template: str, slots: dict[str, tuple[str, ...]]) -> str:
    """A regular expression over ``plain`` text for everything ``expand`` can give."""
    text = template
    while _SLOT.search(text):
        text = _SLOT.sub(lambda found: f"[{'|'.join(slots[found[1]])}]", text)
    parts = re.split(r"([\[\]|])", text)
    marks = {"[": "(?:", "]": ")", "|": "|"}
    return r"\s*".join(marks.get(part) or r"\s*".join(plain(part).split()) for part in parts)


def plain(text: str) -> str:
    """``text`` in lower case without punctuation and with single spaces, to compare."""
    return " ".join(re.sub(r"[^\w\s]", " ", text.lower()).split())


def vary(question: str, openers: tuple[str, ...], closers: tuple[str, ...], rng: random.Random) -> str:
    """``question`` as somebody in a hurry would type it: openers, typos, lost words."""
    text = question
    if rng.random() < 0.12:
        text = _drop_word(text, rng)
    if " " in question and rng.random() < 0.25:
        text = f"{rng.choice(openers)} {text}"
    if " " in question and rng.random() < 0.16:
        closer = rng.choice(closers)
        text = text + (closer if closer.startswith(",") else f" {closer}")
    if rng.random() < 0.12:
        text = _misspell(text, rng)
    return _punctuate(_change_case(text, rng), rng)


def _change_case(text: str, rng: random.Random) -> str:
    draw = rng.random()
    if draw < 0.5:
        return text[:1].upper() + text[1:]
    if draw < 0.72:
        return text.lower()
    if draw < 0.74:
        return text.upper()
    return text


def _punctuate(text: str, rng: random.Random) -> str:
    if text.endswith(("?", "!", ".")):
        return text
    return text + rng.choices(("", "?", "??", "!", ".", " ?"), (38, 46, 3, 4, 7, 2))[0]


def _drop_word(text: str, rng: random.Random) -> str:
    """Without one of the words that a sentence can spare."""
    words = text.split()
    spare = [index for index, word in enumerate(words) if word.lower() in _SPARE]
    if len(words) > 3 and spare:
        del words[rng.choice(spare)]
    return " ".join(words)


def _misspell(text: str, rng: random.Random) -> str:
    words = text.split()
    long_words = [index for index, word in enumerate(words) if len(word) > 3 and word.isalpha()]
    if not long_words:
        return text
    index = rng.choice(long_words)
    word = words[index]
    at = rng.randrange(1, len(word) - 1)
    words[index] = rng.choice(
        (
            word[:at] + word[at + 1 :],
            word[:at] + word[at + 1] + word[at] + word[at + 2 :],
            word[:at] + word[at] + word[at:],
        )
    )
    return " ".join(words)
