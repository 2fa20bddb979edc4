"""The tokenizer that a GGUF file describes, in the files that transformers reads."""

import re
from collections.abc import Mapping
from typing import Any, Final, cast

from tokenizers import AddedToken, Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel, Digits, PreTokenizer, Sequence

Fields = Mapping[str, Any]

# How a text is cut before its pieces are encoded; GGUF only names the rule. The same as llama.cpp's for these
# names (`llama_vocab::impl::load`); for others, transformers would take a rule that cuts differently.
PRE_TOKENIZERS: Final = {"smollm": lambda: Sequence([Digits(individual_digits=True), _bytes()])}
CONTROL = 3
"""A token's type in GGUF: it stands for an event, such as the end of a message, and is not text."""
SPECIAL = {
    "bos_token": "tokenizer.ggml.bos_token_id",
    "eos_token": "tokenizer.ggml.eos_token_id",
    "unk_token": "tokenizer.ggml.unknown_token_id",
    "pad_token": "tokenizer.ggml.padding_token_id",
}

DEFAULT_SYSTEM: Final = re.compile(
    r"\{% if loop\.first and messages\[0\]\['role'\] != 'system' %\}.*?\{% endif %\}", re.DOTALL
)
"""What a ChatML template says to add a system message of its own."""


class UnknownTokenizer(ValueError):
    """The file's tokenizer is of a kind that cannot be built."""


def tokenizer(fields: Fields) -> Tokenizer:
    """Build the byte-level BPE tokenizer; UnknownTokenizer if the file's is another."""
    kind, rule = fields.get("tokenizer.ggml.model"), fields.get("tokenizer.ggml.pre")
    if kind != "gpt2" or rule not in PRE_TOKENIZERS:
        raise UnknownTokenizer(f"its tokenizer ({kind}, {rule}) is not supported")
    tokens = cast(list[str], fields["tokenizer.ggml.tokens"])
    merges = [_pair(merge) for merge in cast(list[str], fields["tokenizer.ggml.merges"])]
    made = Tokenizer(BPE(vocab={token: number for number, token in enumerate(tokens)}, merges=merges))
    made.pre_tokenizer = PRE_TOKENIZERS[rule]()  # type: ignore[assignment]
    made.decoder = ByteLevelDecoder()  # type: ignore[assignment]
    types = cast(list[int], fields["tokenizer.ggml.token_type"])
    special = [token for token, kind in zip(tokens, types, strict=True) if kind == CONTROL]
    made.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in special])
    return made


def tokenizer_config(fields: Fields) -> dict[str, Any]:
    """Return tokenizer_config.json: special tokens and the chat template."""
    tokens = cast(list[str], fields["tokenizer.ggml.tokens"])
    special = {name: tokens[fields[field]] for name, field in SPECIAL.items() if field in fields}
    template = fields.get("tokenizer.chat_template")
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        "add_prefix_space": False,
        "model_max_length": fields["llama.context_length"],
        **special,
        **({"chat_template": template} if template else {}),
    }


def without_default_system(template: str) -> str:
    """Return a ChatML template that leaves a conversation without a system message as it is; any other unchanged."""
    return DEFAULT_SYSTEM.sub("", template, count=1)


def _bytes() -> PreTokenizer:
    return ByteLevel(add_prefix_space=False, use_regex=True)


def _pair(merge: str) -> tuple[str, str]:
    left, _, right = merge.partition(" ")
    return left, right
