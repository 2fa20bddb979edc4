"""The parameters that every endpoint which generates treats alike.

`Sampling` is what the engine honors. `HINTS` is accepted and dropped: no value of it can make
an answer wrong. Chat completions and responses both read these two, so that neither refuses
what the other takes; tests walk the parameters of OpenAI's client and the fields of vLLM's request.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec

HINTS: Mapping[str, str] = {
    "user": "a label for the caller's own records",
    "safety_identifier": "a label for the caller's own records",
    "client_metadata": "a label for the caller's own records",
    "prompt_cache_key": "vLLM caches every prefix of a prompt by itself",
    "prompt_cache_options": "vLLM caches every prefix of a prompt by itself",
    "prompt_cache_retention": "vLLM caches every prefix of a prompt by itself",
    "prediction": "it can only speed up the same answer",
    "service_tier": "all requests are served alike; keys have limits instead",
    "background_options": "it sets the price and the order of background work; here it starts at once",
    "image": "it lets images be compressed; here the model gets them as they are",
    "verbosity": "a preference about style; ask for it in the instructions",
    "personality": "a preference about style; ask for it in the instructions",
    "text.verbosity": "a preference about style; ask for it in the instructions",
    "reasoning.summary": "reasoning is returned in full, which is more than a summary",
    "reasoning.generate_summary": "reasoning is returned in full, which is more than a summary",
    "reasoning.context": "the model's chat template decides which earlier reasoning it reads",
    "reasoning.mode": "the model reasons in one way; `reasoning.effort` is honored",
    "stream_options.include_obfuscation": "padding against observers of an encrypted stream; it carries no text",
}
"""Accepted with any value and dropped, each with the reason why the answer is right without it."""

Penalty = Annotated[float, msgspec.Meta(ge=-2, le=2)]
Seed = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
Temperature = Annotated[float, msgspec.Meta(ge=0, le=2)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Stop = str | Annotated[list[Annotated[str, msgspec.Meta(min_length=1)]], msgspec.Meta(max_length=4)]
TokenId = Annotated[str, msgspec.Meta(pattern=r"^\d{1,10}$")]
LogitBias = dict[TokenId, Annotated[float, msgspec.Meta(ge=-100, le=100)]]
Tokens = list[Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]]
Natural = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
Integer = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]


class Sampling(msgspec.Struct, kw_only=True):
    """How the next token is chosen: OpenAI's parameters, and those of vLLM's own chat completions."""

    temperature: Temperature | None = None
    top_p: Share | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    logit_bias: LogitBias | None = None
    seed: Seed | None = None
    stop: Stop | None = None

    top_k: Annotated[int, msgspec.Meta(ge=-1, le=2**31 - 1)] | None = None
    min_p: Share | None = None
    repetition_penalty: Annotated[float, msgspec.Meta(gt=0)] | None = None
    length_penalty: float | None = None
    min_tokens: Natural | None = None
    ignore_eos: bool | None = None
    stop_token_ids: Tokens | None = None
    include_stop_str_in_output: bool | None = None
    allowed_token_ids: Tokens | None = None
    bad_words: list[Annotated[str, msgspec.Meta(min_length=1)]] | None = None
    structured_outputs: dict[str, Any] | None = None
    repetition_detection: dict[str, Any] | None = None
    use_beam_search: bool | None = None
    watermarking: bool | None = None
    skip_special_tokens: bool | None = None
    spaces_between_special_tokens: bool | None = None
    truncate_prompt_tokens: Integer | None = None
    truncation_side: Literal["left", "right"] | None = None
    prompt_logprobs: Integer | None = None
    logprob_token_ids: Tokens | None = None
    thinking_token_budget: Integer | None = None
    include_reasoning: bool | None = None
    echo: bool | None = None
    add_generation_prompt: bool | None = None
    continue_final_message: bool | None = None
    add_special_tokens: bool | None = None
    documents: list[dict[str, str]] | None = None
    chat_template: str | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    media_io_kwargs: dict[str, dict[str, Any]] | None = None
    mm_processor_kwargs: dict[str, Any] | None = None
    return_tokens_as_token_ids: bool | None = None
    return_token_ids: bool | None = None
    return_prompt_text: bool | None = None
    stream_interval: Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)] | None = None
    priority: Integer | None = None
    session_id: str | None = None
    cache_salt: Annotated[str, msgspec.Meta(min_length=1, max_length=1024)] | None = None
    kv_transfer_params: dict[str, Any] | None = None
    ec_transfer_params: dict[str, Any] | None = None
    vllm_xargs: dict[str, Any] | None = None


SAMPLING: frozenset[str] = frozenset(Sampling.__struct_fields__)
"""The names of what a request may say about sampling."""


def without_hints(request: Mapping[str, Any]) -> dict[str, Any]:
    """Return a request without what is accepted and dropped, and without fields that are null."""
    kept = {name: value for name, value in request.items() if value is not None and name not in HINTS}
    for name, inner in _NESTED.items():
        if isinstance(kept.get(name), Mapping) and not inner.isdisjoint(kept[name]):
            kept[name] = {key: value for key, value in kept[name].items() if key not in inner}
    return kept


def _nested() -> Mapping[str, frozenset[str]]:
    pairs = [name.split(".") for name in HINTS if "." in name]
    return {outer: frozenset(pair[1] for pair in pairs if pair[0] == outer) for outer, _ in pairs}


_NESTED = _nested()
