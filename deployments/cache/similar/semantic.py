"""A semantic cache to plug in: `cache.langchain: "deployments.cache.similar.semantic:cache"`.

Two questions meet where all but the user's last message is equal, letter by letter: tenant, model, parameters, what
was said before, and the numbers in the last message itself. Of that message's text the embeddings are compared. They
come from an OpenAI-compatible `/v1/embeddings`, such as this service's own (`cache.semantic`).
"""

import base64
import hashlib
import json
import re
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import httpx
import msgspec
import numpy as np
from langchain_core.caches import BaseCache
from langchain_core.outputs import Generation

from deployments.cache.similar.vectors import Vector, Vectors
from deployments.config import CacheSettings, SemanticSettings, secret_in_environment

MAX_CHARACTERS = 2_000
"""Of a message that is compared; small models for embeddings read no more than a few hundred tokens."""
MAX_REPLY_BYTES = 1 << 20
REMEMBERED = 256
"""Embeddings of the last texts: what is sought and not found is embedded again when its answer comes."""
NUMBER = re.compile(r"\d+(?:[.,:]\d+)*")

Embed = Callable[[str], Awaitable[Vector]]


def cache(settings: CacheSettings) -> "SemanticCache":
    """Make the cache from the settings; raises ValueError where the key is missing."""
    return SemanticCache(settings.semantic, settings.ttl_s, Embedder(settings.semantic))


cache.takes_settings = True  # pyright: ignore[reportFunctionMemberAccess]


@dataclass(frozen=True, slots=True)
class SemanticQuery:
    """What is compared by its embedding, and what must be equal."""

    text: str
    scope: bytes
    tenant: str

    @classmethod
    def of(cls, prompt: str, llm_string: str) -> "SemanticQuery | None":
        """Return the question in LangChain's terms; None for one that does not end with a text of the user's."""
        tenant = str(json.loads(llm_string)[3])
        before, text = _split(prompt)
        if text is None or not text.strip() or len(text) > MAX_CHARACTERS:
            return None
        parts = [llm_string, before, NUMBER.findall(text)]
        return cls(text, hashlib.sha256(json.dumps(parts).encode()).digest(), tenant)


def _split(prompt: str) -> tuple[str, str | None]:
    """Return the prompt without its last text, and that text; a prompt that is not a list of messages is all text."""
    try:
        parsed: Any = json.loads(prompt)
    except ValueError:
        return "", prompt
    if not isinstance(parsed, list) or not parsed:
        return "", prompt
    messages = cast("list[dict[str, Any]]", parsed)
    last = dict(messages[-1].get("kwargs") or {})
    text = last.pop("content", None)
    if last.get("type") != "human" or not isinstance(text, str):
        return "", None
    return json.dumps([*messages[:-1], last], sort_keys=True), text


class SemanticCache(BaseCache):
    """Keeps answers in the memory of its process: at most `max_entries` for a tenant, and `max_bytes` in total."""

    def __init__(self, settings: SemanticSettings, ttl_s: float, embed: Embed) -> None:
        self._settings = settings
        self._ttl_s = ttl_s
        self._embed = embed
        self._tenants: OrderedDict[str, Vectors] = OrderedDict()
        self._known: OrderedDict[str, Vector] = OrderedDict()

    @property
    def held_bytes(self) -> int:
        """Size of all entries in bytes."""
        return sum(vectors.held_bytes for vectors in self._tenants.values())

    async def alookup(self, prompt: str, llm_string: str) -> Sequence[Generation] | None:
        """Return the answer to the nearest question that is similar enough; raises what the embedding raises."""
        question = SemanticQuery.of(prompt, llm_string)
        vectors = self._tenants.get(question.tenant) if question else None
        if question is None or vectors is None:
            return None
        self._tenants.move_to_end(question.tenant)
        return vectors.nearest(question.scope, await self._vector(question.text), self._settings.min_similarity)

    async def aupdate(self, prompt: str, llm_string: str, return_val: Sequence[Generation]) -> None:
        """Keep an answer; the tenant that has asked for nothing the longest makes room, a lone one begins anew."""
        question = SemanticQuery.of(prompt, llm_string)
        size = sum(len(msgspec.json.encode(one.generation_info or {})) + len(one.text) for one in return_val)
        if question is None or size > self._settings.max_bytes // 2:
            return
        vector = await self._vector(question.text)
        vectors = self._tenants.get(question.tenant)
        if vectors is None or vectors.dimensions != len(vector):
            vectors = self._tenants[question.tenant] = Vectors(len(vector), self._settings.max_entries)
        self._tenants.move_to_end(question.tenant)
        vectors.add(question.scope, vector, return_val, self._ttl_s, size)
        while self.held_bytes > self._settings.max_bytes:
            self._tenants.popitem(last=False)

    def lookup(self, prompt: str, llm_string: str) -> Sequence[Generation] | None:
        raise NotImplementedError("this cache is asynchronous")

    def update(self, prompt: str, llm_string: str, return_val: Sequence[Generation]) -> None:
        raise NotImplementedError("this cache is asynchronous")

    def clear(self, **kwargs: Any) -> None:
        self._tenants.clear()

    async def _vector(self, text: str) -> Vector:
        known = self._known.get(text)
        if known is None:
            known = self._known[text] = await self._embed(text)
        self._known.move_to_end(text)
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return known


class Embedder:
    """Asks an OpenAI-compatible API for the embedding of one text. Its connections belong to the loop of its calls."""

    def __init__(self, settings: SemanticSettings) -> None:
        key = secret_in_environment(settings.api_key_env) if settings.api_key_env else None
        if settings.api_key_env and key is None:
            raise ValueError(f"cache.semantic.api_key_env: {settings.api_key_env} is not set in the environment")
        self._headers = {"authorization": f"Bearer {key.get_secret_value()}"} if key else {}
        self._settings = settings
        self._http: httpx.AsyncClient | None = None

    async def __call__(self, text: str) -> Vector:
        """Return the embedding, of length 1; raises httpx's errors, and ValueError for what is none."""
        if self._http is None:
            # Nobody tells a plugged cache that it is over: no connection outlives its call.
            limits = httpx.Limits(max_keepalive_connections=0)
            self._http = httpx.AsyncClient(headers=self._headers, trust_env=False, limits=limits)
        body = {"model": self._settings.model, "input": text, "encoding_format": "base64"}
        url = f"{self._settings.base_url.rstrip('/')}/embeddings"
        async with self._http.stream("POST", url, json=body) as response:
            response.raise_for_status()
            reply = bytearray()
            async for piece in response.aiter_bytes():
                reply += piece
                if len(reply) > MAX_REPLY_BYTES:
                    raise ValueError("the embedding is too large")
        vector = _decoded(json.loads(reply)["data"][0]["embedding"])
        length = float(np.linalg.norm(vector))
        if not vector.size or not np.isfinite(length) or not length:
            raise ValueError("the embedding has no direction")
        return vector / np.float32(length)


def _decoded(embedding: Any) -> Vector:
    """Return an embedding as it comes: base64 of little-endian floats, or a list where a server knows no base64."""
    if isinstance(embedding, str):
        return np.frombuffer(base64.b64decode(embedding, validate=True), "<f4").astype(np.float32)
    return np.array(embedding, np.float32)
