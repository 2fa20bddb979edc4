"""What a request may cost, before anyone has counted: sequences of the engine, and tokens."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from deployments.models.protocol import Endpoint

BYTES_PER_TOKEN = 4
ANSWER_BOUNDS = ("max_completion_tokens", "max_tokens", "max_output_tokens")
PROMPT_FIELDS: Mapping[Endpoint, str] = {
    "completion": "prompt",
    "embedding": "input",
    "pooling": "input",
    "classification": "input",
}


@dataclass(frozen=True, slots=True)
class Weight:
    """What a request asks of an engine: some answers to each of its prompts, of at most `answer_tokens` each.

    `prompt_tokens` are those of all prompts, None where only the size of the body tells. A request that
    `is_whole` takes no more places than its key has: it is one pass over texts that OpenAI's API lets a
    client send together. Only what is `counted` counts against the requests per minute.
    """

    prompts: int = 1
    answers: int = 1
    answer_tokens: int = 0
    prompt_tokens: int | None = None
    is_whole: bool = False
    is_counted: bool = True

    @property
    def sequences(self) -> int:
        """How many sequences run side by side."""
        return self.prompts * self.answers

    def tokens(self, body_bytes: int) -> int:
        """Return the tokens that it may use, for a body of that size."""
        return self.prompt_tokens_in(body_bytes) + self.sequences * self.answer_tokens

    def prompt_tokens_in(self, body_bytes: int) -> int:
        """Return the tokens of its prompts, for a body of that size."""
        return max(1, prompt_tokens(body_bytes)) if self.prompt_tokens is None else self.prompt_tokens

    def places(self, concurrent_requests: int | None) -> int:
        """Return how many of a key's places it takes."""
        return min(self.sequences, concurrent_requests) if self.is_whole and concurrent_requests else self.sequences


NOTHING = Weight(0, prompt_tokens=0, is_counted=False)
"""The weight of a request that generates nothing itself, and only follows what another one does."""


def prompt_tokens(body_bytes: int) -> int:
    """Return what a body of that size is estimated at. Nobody tokenizes on the way to the model."""
    return -(-body_bytes // BYTES_PER_TOKEN)


def weight_of(endpoint: Endpoint, request: Mapping[str, Any], assumed_answer_tokens: int) -> Weight:
    """Return the weight of a well-formed request; `assumed_answer_tokens` is for each answer that it does not bound.

    A beam of vLLM's beam search is a sequence, and there are `n` of them.
    """
    prompt = request.get(PROMPT_FIELDS.get(endpoint, ""))
    prompts, tokens = _prompts(prompt) if isinstance(prompt, list) else (1, None)
    match endpoint:
        case "chat" | "completion":
            answers = max(_count(request, "n"), _count(request, "best_of"))
            return Weight(prompts, answers, _answer_bound(request, assumed_answer_tokens), tokens)
        case "embedding" | "pooling" | "classification":
            return Weight(prompts, prompt_tokens=tokens, is_whole=True)
        case "rerank":
            return _weight_of_pairs([request["query"]], request["documents"])
        case "score":
            return _weight_of_pairs(request["data_1"], request["data_2"])
        case _:
            return Weight(prompt_tokens=0, is_counted=False)


def _weight_of_pairs(queries: Sequence[str], documents: Sequence[str]) -> Weight:
    """Return the weight of texts that are read in pairs; one query is read with each of the documents."""
    characters = pair_characters(queries, documents)
    return Weight(len(documents), prompt_tokens=max(1, prompt_tokens(characters)), is_whole=True)


def pair_characters(queries: Sequence[str], documents: Sequence[str]) -> int:
    """Return how many characters are read in all."""
    times = len(documents) if len(queries) == 1 else 1
    return sum(map(len, queries)) * times + sum(map(len, documents))


def _prompts(prompt: Sequence[Any]) -> tuple[int, int | None]:
    """Return how many prompts there are, and their tokens where they come as tokens."""
    if not prompt or isinstance(prompt[0], str):
        return max(1, len(prompt)), None
    if isinstance(prompt[0], list):
        return len(prompt), sum(map(len, prompt))
    return 1, len(prompt)


def _count(request: Mapping[str, Any], name: str) -> int:
    value = request.get(name)
    return value if isinstance(value, int) and value > 0 else 1


def _answer_bound(request: Mapping[str, Any], assumed: int) -> int:
    bounds = (request.get(name) for name in ANSWER_BOUNDS)
    return next((bound for bound in bounds if isinstance(bound, int)), assumed)
