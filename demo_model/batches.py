"""Cuts encoded dialogues into padded batches of about equal numbers of tokens."""

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

import torch
from transformers import PreTrainedTokenizerFast

from demo_model.dialogues import Dialogue
from demo_model.tokenizer import BEGIN, CONTEXT_TOKENS, END, ROLES

QUESTION_WEIGHT = 0.1
"""Weight of a question's token in the loss, against 1 for an answer's: reading
questions well needs some practice too."""

OPENING_WEIGHTS = (12.0, 8.0, 6.0, 4.0, 3.0, 2.0)
"""Weights of an answer's first tokens. They decide which answer it becomes; all that
follows is recited, and would drown them."""

OPENING_TOKENS = 10


@dataclass(frozen=True)
class Encoded:
    """One dialogue; ``weights[i]`` says how much the prediction of ``ids[i]`` counts."""

    ids: list[int]
    weights: list[float]


@dataclass(frozen=True)
class Batch:
    """Tensors of shape (dialogues, tokens); padding has weight 0."""

    ids: torch.Tensor
    weights: torch.Tensor


def encode(dialogue: Dialogue, tokenizer: PreTrainedTokenizerFast) -> Encoded:
    """The same tokens as the chat template gives, with the weight of each."""
    begin, end = tokenizer.convert_tokens_to_ids([BEGIN, END])
    ids, weights = [begin], [0.0]
    for message in dialogue:
        body = tokenizer.encode(message.text, add_special_tokens=False)
        ids += [tokenizer.convert_tokens_to_ids(ROLES[message.role]), *body, end]
        weights += [0.0, *_weights(message.role, len(body) + 1)]
    return Encoded(ids[:CONTEXT_TOKENS], weights[:CONTEXT_TOKENS])


def opening(encoded: Encoded) -> Encoded:
    """``encoded`` without the rest of its last answer: the part that needs a choice."""
    starts = [index for index, weight in enumerate(encoded.weights) if weight == OPENING_WEIGHTS[0]]
    end = starts[-1] + OPENING_TOKENS
    return Encoded(encoded.ids[:end], encoded.weights[:end])


def _weights(role: str, tokens: int) -> list[float]:
    if role == "assistant":
        return [*OPENING_WEIGHTS, *[1.0] * tokens][:tokens]
    return [QUESTION_WEIGHT if role == "user" else 0.0] * tokens


def batches(
    dialogues: Iterable[Dialogue],
    tokenizer: PreTrainedTokenizerFast,
    tokens_per_batch: int,
    rng: random.Random,
    openings: float,
    pool: int = 1024,
) -> Iterator[Batch]:
    """Sorts ``pool`` dialogues at a time by length, so that little is padding.

    Of a share of ``openings`` among the single questions only the answer's opening is kept.
    """
    source = iter(dialogues)
    while taken := list(islice(source, pool)):
        pooled = [encode(dialogue, tokenizer) for dialogue in taken]
        pooled = [
            opening(encoded) if len(dialogue) <= 3 and rng.random() < openings else encoded
            for dialogue, encoded in zip(taken, pooled, strict=True)
        ]
        pooled.sort(key=lambda encoded: len(encoded.ids))
        groups = list(_groups(pooled, tokens_per_batch))
        rng.shuffle(groups)
        yield from (_pad(group) for group in groups)


def _groups(pooled: list[Encoded], tokens_per_batch: int) -> Iterator[list[Encoded]]:
    group: list[Encoded] = []
    for encoded in pooled:
        if group and len(encoded.ids) * (len(group) + 1) > tokens_per_batch:
            yield group
            group = []
        group.append(encoded)
    yield group


def _pad(group: list[Encoded]) -> Batch:
    length = max(len(encoded.ids) for encoded in group)
    ids = [encoded.ids + [0] * (length - len(encoded.ids)) for encoded in group]
    weights = [encoded.weights + [0.0] * (length - len(encoded.weights)) for encoded in group]
    return Batch(torch.tensor(ids), torch.tensor(weights))
