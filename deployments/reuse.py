"""Where an answer comes from: what is stored, what is being generated already, or a new generation."""

import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Protocol

from deployments.cache.claims import Claim, name_since
from deployments.cache.entry import CacheEntry
from deployments.cache.gathering import Outcome
from deployments.cache.remote import Question
from deployments.cache.steering import CacheControl, in_words
from deployments.errors import NotCached
from deployments.flights.flights import Flights, Generate
from deployments.flights.renaming import renamed
from deployments.models.protocol import Frames, Generation, Message, Reply


class Cache(Protocol):
    """What has been answered before, and who is answering now."""

    @property
    def is_on(self) -> bool:
        """Whether anything is ever found."""
        ...

    def hot(self, key: str) -> CacheEntry | None:
        """Return the entry if this process holds it in memory."""
        ...

    async def seek(self, key: str, claim: Claim | None = None) -> Outcome:
        """Return the entry, or the reason for a miss and who generates the answer now. Never raises, never waits long.

        A late, failing or garbled answer is a miss as well. `claim` is this
        replica's wish to be the one who generates.
        """
        ...

    @property
    def version(self) -> str:
        """The version of all purges as it was seen last, by each `seek` that the store answered."""
        ...

    @property
    def is_current(self) -> bool:
        """Whether that was less than a second ago."""
        ...

    @property
    def view(self) -> str:
        """The version while it is current; else another text for each time that nobody knows of purges here."""
        ...

    async def refresh(self, key: str) -> None:
        """See the version anew, where nothing is sought for `key`. Never raises, never waits longer than `seek`."""
        ...

    @property
    def consults(self) -> bool:
        """Whether `consult` ever finds anything."""
        ...

    async def consult(self, question: Question) -> Outcome:
        """Return an answer to the question or to one that is similar, which the reason says; else why there is none.

        Never raises, and waits longer than `seek`.
        """
        ...

    async def hold(self, claims: Sequence[Claim]) -> list[bytes]:
        """Return who holds each claim's name now; an empty list if that can not be told in time. Never raises."""
        ...

    def store(self, key: str, entry: CacheEntry, question: Question | None = None) -> None:
        """Keep an answer, in the background; drops it when too many wait. Never raises, never waits.

        What the question's version says to be older than the last purge is dropped too.
        """
        ...


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be answered: the key (None for what must not be cached, and `reason` why), and under which id."""

    key: str | None
    reason: str
    control: CacheControl
    reply_id: str


@dataclass(frozen=True, slots=True)
class Found:
    """A stored answer, or the messages of a generation, which must be begun at once and closed.

    `result` is HIT, MISS, BYPASS or JOIN, and `reason` the word for what stands against a hit, or for its being none
    of the very request.
    """

    result: str
    answer: CacheEntry | AsyncGenerator[Message]
    reason: str = ""


class Reuse:
    """Finds answers for one ingress replica."""

    def __init__(self, cache: Cache, flights: Flights) -> None:
        self._cache = cache
        self._flights = flights

    async def find(self, wish: Wish, generation: Generation, generate: Generate) -> Found:
        """Return where the answer comes from; what `generate` brings is stored, if it may be, once it is whole.

        Raises NotCached where only a stored answer will do.
        """
        key, control = wish.key, wish.control
        if key is None or control.no_cache:
            reason = wish.reason or "no_cache"
            if control.only_if_cached:
                raise _not_cached(reason)
            if key is None:
                return Found("BYPASS", generate(), reason)
            await self._cache.refresh(key)
            return Found("BYPASS", self._stored(generate(), _question(key, generation, self._cache.version)), reason)
        if (entry := self._cache.hot(key)) and _is_fresh(entry, control):
            return Found("HIT", entry)
        if self._cache.is_current and not control.only_if_cached:
            name = self._flying(key, generation, self._cache.version)
            if name:
                return self._board(name, Outcome(None, version=self._cache.version), wish, generation, generate)
        name = _name(key, generation, generation.stream)
        outcome = await self._sought(_question(key, generation), name, control)
        if outcome.entry:
            return Found("HIT", outcome.entry, outcome.reason)
        if control.only_if_cached:
            raise _not_cached(outcome.reason)
        # Who cannot tell whether there was a purge shares with those alone who could not tell either.
        version = self._cache.view if outcome.version is None else outcome.version
        name = self._flying(key, generation, version) or name_since(name, version)
        return self._board(name, outcome, wish, generation, generate)

    async def _sought(self, question: Question, name: str, control: CacheControl) -> Outcome:
        """Return what is stored, else what a LangChain cache finds, else who generates the answer as flight `name`."""
        claim = None if control.only_if_cached else self._flights.claim(name)
        # What is claimed must begin at once: with a LangChain cache, that is only once it has found nothing.
        outcome = await self._cache.seek(question.key, None if self._cache.consults else claim)
        if outcome.entry:
            if _is_fresh(outcome.entry, control):
                return Outcome(outcome.entry)
            outcome = Outcome(None, "stale", version=outcome.version)
        version = outcome.version
        if version is None:  # the store is out of reach
            return outcome
        if self._cache.consults:
            found = await self._cache.consult(question)
            if found.entry and _is_fresh(found.entry, control):
                return found
            outcome = Outcome(None, found.reason if not found.entry and found.reason else outcome.reason, b"", version)
        elif outcome.reason == "absent":
            return outcome
        # Something was there, or nothing was claimed yet.
        holder = next(iter(await self._cache.hold([claim.since(version)])), b"") if claim else b""
        return Outcome(None, outcome.reason, holder, version)

    def _flying(self, key: str, generation: Generation, version: str) -> str:
        """Return the flight of this replica that brings the answer: a plain one can be had from a stream as well.

        One that took off before a purge is none.
        """
        names = (_name(key, generation, streams) for streams in (True, generation.stream))
        return next((name for name in (name_since(n, version) for n in names) if self._flights.flies(name)), "")

    def _board(self, name: str, outcome: Outcome, wish: Wish, generation: Generation, generate: Generate) -> Found:
        version = self._cache.version if outcome.version is None else outcome.version
        question = _question(wish.key or "", generation, version)
        messages, is_joined = self._flights.board(name, outcome.holder, lambda: self._stored(generate(), question))
        if is_joined:
            return Found("JOIN", renamed(messages, wish.reply_id))
        return Found("MISS", messages, outcome.reason)

    async def _stored(self, messages: AsyncGenerator[Message], question: Question) -> AsyncGenerator[Message]:
        """Pass `messages` on, and store the answer that they are once it is complete."""
        sent: list[bytes] = []
        async with aclosing(messages):
            async for message in messages:
                match message:
                    case Frames(data):
                        sent.append(data)
                    case Reply(body):
                        self._cache.store(question.key, CacheEntry(body, b"".join(sent), time.time()), question)
                    case _:
                        pass
                yield message


def _name(key: str, generation: Generation, streams: bool) -> str:
    """Return the flight's name: no stream can be had from a plain generation, nor a trimmed one from another."""
    return f"{key}:{'stream' if streams else 'plain'}{':trim' if generation.trim else ''}"


def _question(key: str, generation: Generation, version: str | None = None) -> Question:
    return Question(key, generation.endpoint, generation.body, generation.trim, version)


def _is_fresh(entry: CacheEntry, control: CacheControl) -> bool:
    return control.max_age_s is None or time.time() - entry.created_at <= control.max_age_s


def _not_cached(reason: str) -> NotCached:
    return NotCached(f"The request asked for a cached answer only, and there is none: {in_words(reason)}.")
