"""vLLM's errors in this service's words: no Python, no pydantic, and the engine's status kept."""

import warnings
from typing import Any

import pytest
from pydantic import ValidationError

from deployments.errors import BadRequest, ChatLLMError, ContextTooLong, ModelNotFound, Unavailable
from deployments.models.refusals import FOREIGN, engine_error, invalid_request
from deployments.models.vllm.replica import _plain

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # vLLM's own imports
    from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest

HELLO = [{"role": "user", "content": "hello"}]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": 7}, "messages"),
        ({"top_k": "many"}, "top_k"),
        ({"top_k": {}}, "top_k"),
        ({"structured_outputs": {"json": 3, "choice": 4}}, "structured_outputs"),
        ({"structured_outputs": {}}, "structured_outputs"),
        ({"structured_outputs": {"nothing": 1}}, "structured_outputs"),
        ({"response_format": {"type": "json_schema"}}, "response_format"),
        ({"tools": [{"type": "function"}]}, "tools.0"),
        ({"tool_choice": {"type": "function", "function": {"name": "none"}}}, None),
        ({"cache_salt": ""}, "cache_salt"),
        ({"truncation_side": "middle"}, "truncation_side"),
        ({"prompt_logprobs": -7}, "prompt_logprobs"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"add_generation_prompt": True, "continue_final_message": True}, None),
    ],
    ids=lambda value: str(value)[:60],
)
def test_what_vllms_types_refuse_is_told_in_plain_words(fields: dict[str, Any], param: str | None) -> None:
    with pytest.raises(Exception) as refused:
        ChatCompletionRequest.model_validate({"messages": HELLO, **fields})
    if not isinstance(refused.value, ValidationError):
        return
    error = invalid_request(refused.value)
    assert isinstance(error, BadRequest)
    assert error.message.endswith(".") and not FOREIGN.search(error.message), error.message
    if param is not None:
        assert (error.param or "").startswith(param)


@pytest.mark.parametrize(
    "message",
    [
        "'NoneType' object is not subscriptable",
        "1 validation error for ChatCompletionRequest",
        "[20:40:42] /project/cpp/json_schema_converter.cc:4950: Cannot find field $defs",
        "Failed to transform json schema into a grammar: RuntimeError",
        "You can only use one kind of structured outputs constraint but multiple are specified: {'json': 1}",
        "Cannot load local files without `--allowed-local-media-path`.",
        "x" * 5_000,
        "two\nlines",
    ],
)
def test_foreign_text_stays_behind(message: str) -> None:
    error = engine_error({"message": message, "code": 400, "param": "structured_outputs"})
    assert error.message == "The model cannot follow 'structured_outputs' as it is."
    assert (error.status, error.param) == (400, "structured_outputs")


def test_a_plain_sentence_passes() -> None:
    told = engine_error({"message": "top_k must be at least 1, got -5. (parameter=top_k, value=-5)", "code": 400})
    assert told.message == "top_k must be at least 1, got -5."


@pytest.mark.parametrize(
    ("code", "kind"),
    [(400, BadRequest), (422, BadRequest), (501, BadRequest), (404, ModelNotFound), (503, Unavailable)],
)
def test_the_engines_status_is_kept(code: int, kind: type[ChatLLMError]) -> None:
    failed = _plain(b'{"error": {"message": "no", "type": "x", "param": null, "code": %d}}' % code)
    assert type(failed.error) is kind  # type: ignore[union-attr]


def test_the_engines_failure_is_none_of_the_clients() -> None:
    failed = _plain(b'{"error": {"message": "EngineCore died at /opt/x.py", "type": "x", "param": null, "code": 500}}')
    assert failed.error.status == 500 and "EngineCore" not in failed.error.message  # type: ignore[union-attr]


def test_a_prompt_that_is_too_long_names_its_field() -> None:
    body = b'{"error": {"message": "This model\'s maximum context length is 64 tokens.", "param": "x", "code": 400}}'
    failed = _plain(body, "prompt")
    assert isinstance(failed.error, ContextTooLong) and failed.error.param == "prompt"  # type: ignore[union-attr]
