"""What a request says about the cache, in HTTP's own words, and what may be cached at all.

    Cache-Control: no-store          neither looked up nor stored, and nobody else's generation joined
    Cache-Control: no-cache          generated anew, and stored
    Cache-Control: max-age=60        nothing older than a minute; a sampled request may be answered so as well
    Cache-Control: only-if-cached    what is stored, or a 504

The words are those of RFC 9111, 5.2.1; others are ignored, as it asks for.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from deployments.cache.key import SIDE_EFFECTS, is_deterministic

Mode = Literal["deterministic", "all", "off"]
"""Which requests of a model are cached without being asked to."""

WORDS: Mapping[str, str] = {
    "off": "the cache is switched off",
    "model": "answers of this model are not cached",
    "endpoint": "only chats and completions are cached",
    "background": "the response is made, and its answer looked up, in the background",
    "usage": "an answer that tells the usage in every event is not cached",
    "side_effects": "the request moves state between engines",
    "sampled": "the request is sampled: it has neither temperature 0 nor a seed nor a max-age",
    "no_store": "the request asked for no-store",
    "no_cache": "the request asked for no-cache",
    "absent": "nothing is stored for this request",
    "stale": "what is stored is older than the request's max-age",
    "timeout": "the cache did not answer in time",
    "redis_timeout": "the cache did not answer in time",
    "overflow": "too many look-ups wait",
    "garbage": "what is stored cannot be read",
    "similar": "approximate: the LangChain cache found the answer to a similar request",
    "langchain_timeout": "nothing is stored, and the LangChain cache did not answer in time",
    "langchain_overflow": "nothing is stored, and too many wait for the LangChain cache",
    "langchain_too_large": "nothing is stored, and the request is too long for the LangChain cache",
    "langchain_prompt": "nothing is stored, and the LangChain cache has no form for the request",
    "langchain_garbage": "nothing is stored, and what the LangChain cache found is no answer",
    "langchain_scope": "nothing is stored, and what the LangChain cache found was given to another key or model,"
    " or has been purged",
}
OUT_OF_REACH = "the cache cannot be reached"
LANGCHAIN_FAILED = "nothing is stored, and the LangChain cache failed"


def describe(reason: str) -> str:
    """Return a reason as a header tells it."""
    if not reason:
        return ""
    return WORDS.get(reason) or (LANGCHAIN_FAILED if reason.startswith("langchain_") else OUT_OF_REACH)


@dataclass(frozen=True, slots=True)
class CacheControl:
    """The directives of one request; `max_age_s` in seconds, None if it names no age."""

    no_store: bool = False
    no_cache: bool = False
    only_if_cached: bool = False
    max_age_s: int | None = None

    @property
    def header(self) -> str:
        """The header that says the same; empty where nothing is said."""
        given = {"no-store": self.no_store, "no-cache": self.no_cache, "only-if-cached": self.only_if_cached}
        age = [] if self.max_age_s is None else [f"max-age={self.max_age_s}"]
        return ", ".join([*(name for name, is_given in given.items() if is_given), *age])


UNSTEERED = CacheControl()


def parsed(header: str) -> CacheControl:
    """Return the directives of a `Cache-Control` header; an age that is not a number counts as 0."""
    given: dict[str, str] = {}
    for directive in header.lower().split(","):
        name, _, value = directive.partition("=")
        given[name.strip()] = value.strip().strip('"')
    age = given.get("max-age")
    return CacheControl(
        "no-store" in given,
        "no-cache" in given,
        "only-if-cached" in given,
        None if age is None else min(int(age[:18]), 2**31) if age.isascii() and age.isdigit() else 0,
    )


def bypass_reason(request: Mapping[str, Any], mode: Mode, control: CacheControl) -> str:
    """Return why an answer to this request is neither looked up nor stored, nothing if it may be both."""
    if control.no_store:
        return "no_store"
    if mode == "off":
        return "model"
    if any(request.get(name) is not None for name in SIDE_EFFECTS):
        return "side_effects"
    if mode == "all" or control.max_age_s is not None or is_deterministic(request):
        return ""
    return "sampled"
