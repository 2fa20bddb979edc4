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
        weight = {"assistant": 1.0, "user": QUESTION_WEIGHT}.get(message.role, 0.0)
        ids += [tokenizer.convert_tokens_to_ids(ROLES[message.role]), *body, end]
        weights += [0.0, *[weight] * len(body), 1.0 if message.role == "assistant" else 0.0]
    return Encoded(ids[:CONTEXT_TOKENS], weights[:CONTEXT_TOKENS])


def batches(
    dialogues: Iterable[Dialogue],
    tokenizer: PreTrainedTokenizerFast,
    tokens_per_batch: int,
    rng: random.Random,
    pool: int = 1024,
) -> Iterator[Batch]:
    """Sorts ``pool`` dialogues at a time by length, so that little is padding."""
    source = iter(dialogues)
    while pooled := [encode(dialogue, tokenizer) for dialogue in islice(source, pool)]:
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
