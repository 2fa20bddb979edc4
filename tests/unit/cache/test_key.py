import copy
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.cache.key import KEY_VERSION, NOT_IN_KEY, cache_key, is_deterministic, key_prefix
from deployments.errors import BadRequest

REQUEST = {"model": "guide", "messages": [{"role": "user", "content": "Hello"}], "temperature": 0}

# vLLM's ChatCompletionRequest. A field that is new there must be thought about here: does it change
# the answer (then it belongs in CHANGES_THE_ANSWER and is in the key by itself), or not (then NOT_IN_KEY)?
VLLM_FIELDS = """
    add_generation_prompt add_special_tokens allowed_token_ids bad_words cache_salt chat_template chat_template_kwargs
    continue_final_message documents ec_transfer_params echo frequency_penalty ignore_eos include_reasoning
    include_stop_str_in_output kv_transfer_params length_penalty logit_bias logprob_token_ids logprobs
    max_completion_tokens max_tokens media_io_kwargs messages min_p min_tokens mm_payload mm_processor_kwargs n
    parallel_tool_calls presence_penalty prompt_logprobs reasoning_effort repetition_detection repetition_penalty
    response_format return_mm_kwargs return_prompt_text return_token_ids return_token_offsets
    return_tokens_as_token_ids routed_experts_prompt_start seed skip_special_tokens spaces_between_special_tokens
    stop stop_token_ids stream_interval structured_outputs temperature thinking_token_budget tool_choice tools top_k
    top_logprobs top_p truncate_prompt_tokens truncation_side use_beam_search vllm_xargs watermarking
"""
CHANGES_THE_ANSWER = frozenset(VLLM_FIELDS.split())


def key(request: dict, tenant: str = "tenant", model: str = "guide@abc") -> str:
    return cache_key(tenant, model, request)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # importing vLLM and torch warns of much that is not ours
def test_every_field_of_vllms_request_has_been_considered():
    from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest

    assert set(ChatCompletionRequest.model_fields) - NOT_IN_KEY.keys() == CHANGES_THE_ANSWER


@pytest.mark.parametrize("field", sorted(CHANGES_THE_ANSWER | {"a_field_of_next_year"}))
def test_changing_a_field_changes_the_key(field):
    values = ["one", "another", 7, False, ["one"], {"one": 1}]
    keys = [key(REQUEST)] + [key({**REQUEST, field: value}) for value in values]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize("field", sorted(NOT_IN_KEY))
def test_fields_that_cannot_change_the_answer_leave_the_key_alone(field):
    assert key({**REQUEST, field: "something"}) == key({**REQUEST, field: "else"}) == key(REQUEST)


def test_no_field_is_both_considered_and_left_out():
    assert not CHANGES_THE_ANSWER & NOT_IN_KEY.keys()
    assert all(reason for reason in NOT_IN_KEY.values())


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"top_p": 1}, {"top_p": 1.0}),
        ({"temperature": 0}, {"temperature": -0.0}),
        ({"seed": None}, {}),
        ({"logit_bias": {"5": 1, "6": 2.0}}, {"logit_bias": {"6": 2, "5": 1.0}}),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        (
            {"messages": [{"role": "user", "content": "x"}]},
            {"messages": [{"content": "x", "role": "user"}]},
        ),
    ],
)
def test_another_spelling_of_the_same_request_has_the_same_key(one, other):
    assert key({**REQUEST, **one}) == key({**REQUEST, **other})


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"logprobs": True}, {"logprobs": 1}),
        ({"top_p": 0.1}, {"top_p": 0.10000001}),
        ({"stop": ["a", "b"]}, {"stop": ["b", "a"]}),
        ({"stop": "1"}, {"stop": 1}),
    ],
)
def test_what_differs_has_another_key(one, other):
    assert key({**REQUEST, **one}) != key({**REQUEST, **other})


@pytest.mark.parametrize("field", ["tools", "response_format", "structured_outputs"])
def test_the_order_within_a_schema_is_part_of_the_key(field):
    """A template prints the schema as it stands and guided decoding follows its order."""
    one = {"properties": {"name": {"type": "string"}, "age": {"type": "integer"}}}
    other = {"properties": {"age": {"type": "integer"}, "name": {"type": "string"}}}
    assert key({**REQUEST, field: one}) != key({**REQUEST, field: other})


def test_tenants_and_models_do_not_share_keys():
    keys = {
        key(REQUEST),
        key(REQUEST, tenant="other"),
        key(REQUEST, model="guide@def"),
        key(REQUEST, tenant="guide@abc", model="tenant"),
        key(REQUEST, tenant="tenantguide", model="@abc"),
    }
    assert len(keys) == 5


def test_a_key_tells_nothing_but_can_be_purged_by_tenant_and_model():
    name = key({**REQUEST, "messages": [{"role": "user", "content": "my secret"}]}, tenant="acme")
    assert name.startswith(key_prefix("acme", "guide@abc"))
    assert "secret" not in name and "acme" not in name and "guide" not in name


def test_unpaired_surrogates_and_huge_numbers_have_a_key():
    request = json.loads('{"messages": "\\ud800", "seed": 1' + "0" * 100 + ', "x": 1e300}')
    assert key(request).startswith(f"{KEY_VERSION}:")


def test_nesting_without_end_is_the_callers_mistake():
    nested: list = []
    for _ in range(100_000):
        nested = [nested]
    with pytest.raises(BadRequest, match="nested"):
        key({**REQUEST, "messages": nested})
    while nested:  # freed step by step: the interpreter's own way recurses
        nested = nested.pop()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text(max_size=8), JSON, max_size=5))
def test_the_key_depends_on_the_content_only_and_changes_nothing(request):
    before = copy.deepcopy(request)
    shuffled = dict(reversed(request.items()))
    assert key(request) == key(shuffled) == key(json.loads(json.dumps(request)))
    assert request == before


@pytest.mark.parametrize(
    ("request_fields", "expected"),
    [
        ({"temperature": 0}, True),
        ({"temperature": 0.0, "n": 3}, True),
        ({"seed": 0}, True),
        ({"seed": 7, "temperature": 1}, True),
        ({}, False),
        ({"temperature": 1}, False),
        ({"temperature": None, "seed": None}, False),
        ({"temperature": False}, False),
        ({"temperature": "0"}, False),
        ({"seed": True}, False),
        ({"temperature": 0, "kv_transfer_params": {"do_remote_decode": True}}, False),
    ],
)
def test_deterministic_requests(request_fields, expected):
    assert is_deterministic(request_fields) is expected
