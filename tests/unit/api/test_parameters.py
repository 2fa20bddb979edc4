"""Each parameter of OpenAI's is honored, dropped as a hint, or refused by its name."""

from typing import Any, get_type_hints

import pytest
from openai.types import completion_create_params, embedding_create_params
from openai.types.chat import completion_create_params as chat_params
from openai.types.responses import input_token_count_params, response_create_params

from deployments.api.http.requests import checked
from deployments.api.routes.completions import CompletionRequest
from deployments.api.routes.embeddings import EmbeddingRequest
from deployments.api.schemas.chat_request import ChatRequest
from deployments.api.schemas.parameters import ONLY, REFUSED, settled
from deployments.chat.parameters import HINTS, SAMPLING, without_hints
from deployments.errors import BadRequest
from deployments.responses.request import REFUSED as REFUSED_OF_RESPONSES
from deployments.responses.request import ResponseRequest

HELLO = {"messages": [{"role": "user", "content": "hello"}]}
OWN = {"conversation", "parent"}
NOT_FOR_CLIENTS = {
    "request_id",  # this service's own
    "routed_experts_prompt_start",  # for the debugging of engines
    *("return_token_offsets", "mm_payload", "return_mm_kwargs"),  # of vLLM's render endpoints only
}
F = {"type": "function", "function": {"name": "f"}}
G = {"type": "function", "function": {"name": "g"}}


def fields(schema: Any) -> set[str]:
    return set(schema.__struct_fields__)


def test_every_parameter_of_openais_chat_has_been_decided() -> None:
    theirs = set(get_type_hints(chat_params.CompletionCreateParamsNonStreaming))
    honored = fields(ChatRequest) - OWN - (SAMPLING - theirs)
    decisions = [honored, theirs & HINTS.keys(), set(ONLY), set(REFUSED)]
    assert set().union(*decisions) == theirs
    assert sum(map(len, decisions)) == len(theirs)
    assert all([*HINTS.values(), *REFUSED.values()])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # importing vLLM and torch warns of much that is not ours
def test_every_field_of_vllms_chat_is_taken_by_chats_and_responses_alike() -> None:
    from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest

    theirs = set(ChatCompletionRequest.model_fields) - NOT_FOR_CLIENTS
    openais = set(get_type_hints(chat_params.CompletionCreateParamsNonStreaming))
    assert theirs - SAMPLING == theirs & (openais | {"stream"}) - SAMPLING
    assert fields(ChatRequest) >= SAMPLING
    assert fields(ResponseRequest) >= SAMPLING


def test_every_hint_is_a_parameter_of_some_client() -> None:
    chats = set(get_type_hints(chat_params.CompletionCreateParamsNonStreaming))
    responses = set(get_type_hints(response_create_params.ResponseCreateParamsNonStreaming))
    counts = set(get_type_hints(input_token_count_params.InputTokenCountParams))
    assert {name.partition(".")[0] for name in HINTS} <= chats | responses | counts | {"client_metadata"}
    assert not HINTS.keys() & (REFUSED.keys() | REFUSED_OF_RESPONSES.keys())


def test_every_parameter_of_openais_completions_and_embeddings_has_been_decided() -> None:
    assert fields(CompletionRequest) == set(get_type_hints(completion_create_params.CompletionCreateParamsNonStreaming))
    assert fields(EmbeddingRequest) == set(get_type_hints(embedding_create_params.EmbeddingCreateParams))


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_what_is_refused_is_named(name: str) -> None:
    with pytest.raises(BadRequest) as refused:
        settled({**HELLO, name: {"any": "value"}})
    assert refused.value.param == name
    assert name in refused.value.message
    assert settled({**HELLO, name: None}) == HELLO


@pytest.mark.parametrize("name", sorted(HINTS))
@pytest.mark.parametrize("value", ["any", {"any": "value"}, 3])
def test_a_hint_does_not_reach_the_model(name: str, value: Any) -> None:
    outer, _, inner = name.partition(".")
    assert without_hints({**HELLO, outer: {inner: value} if inner else value}) == HELLO | ({outer: {}} if inner else {})


def test_a_value_that_changes_nothing_is_accepted() -> None:
    assert settled({**HELLO, "modalities": ["text"]}) == HELLO
    with pytest.raises(BadRequest, match="modalities"):
        settled({**HELLO, "modalities": ["text", "audio"]})


@pytest.mark.parametrize(
    ("field", "fields_"),
    [
        ("stream_options", {"stream_options": {"include_usage": True}}),
        ("stream_options", {"stream_options": {"include_obfuscation": False}}),
        ("top_logprobs", {"top_logprobs": 2}),
        ("tool_choice", {"tool_choice": "required"}),
        (
            "tool_choice",
            {"tools": [F], "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [G]}}},
        ),
    ],
)
def test_what_contradicts_itself_is_refused(field: str, fields_: dict[str, Any]) -> None:
    with pytest.raises(BadRequest) as refused:
        settled({**HELLO, **fields_})
    assert refused.value.param == field


def test_allowed_tools_become_the_tools() -> None:
    choice = {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [G]}}
    assert settled({**HELLO, "tools": [F, G], "tool_choice": choice}) == {
        **HELLO,
        "tools": [G],
        "tool_choice": "required",
    }


def test_fields_of_vllms_own_pass() -> None:
    extra = {"top_k": 3, "structured_outputs": {"choice": ["a"]}, "chat_template_kwargs": {"x": 1}}
    assert settled({**HELLO, **extra}) == {**HELLO, **extra}


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("frequency_penalty", 2.1),
        ("presence_penalty", -3),
        ("logit_bias", {"5": 101}),
        ("logit_bias", {"five": 1}),
        ("top_logprobs", 21),
        ("n", 0),
        ("n", 129),
        ("temperature", 2.5),
        ("top_p", 1.5),
        ("seed", 2**63),
        ("stop", ["a", "b", "c", "d", "e"]),
        ("stop", [""]),
        ("max_tokens", 0),
        ("tools", [{"type": "custom", "custom": {"name": "f"}}]),
        ("tools", [{"type": "function", "function": {"name": "not a name"}}]),
        ("tools", [{"type": "function"}]),
        ("tool_choice", "always"),
        ("tool_choice", {"type": "custom", "custom": {"name": "f"}}),
        ("response_format", {"type": "xml"}),
        ("response_format", {"type": "json_schema"}),
        ("reasoning_effort", "enormous"),
        ("metadata", {"k" * 65: "v"}),
        ("metadata", {"k": "v" * 513}),
        ("metadata", {str(n): "v" for n in range(17)}),
        ("stream_options", {"unknown": True}),
        ("store", "yes"),
    ],
)
def test_ranges_are_openais(name: str, wrong: Any) -> None:
    with pytest.raises(BadRequest) as refused:
        checked({**HELLO, name: wrong}, ChatRequest, 10)
    assert (refused.value.param or "").startswith(name)
