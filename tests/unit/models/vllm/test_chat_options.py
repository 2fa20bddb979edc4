"""Every option that vLLM's server hands to its renderer and handlers works under `chat:`, and no other is taken."""

import inspect
import warnings

import pytest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # vLLM's own imports
    from vllm.entrypoints.openai.chat_completion.serving import OpenAIServingChat
    from vllm.entrypoints.openai.completion.serving import OpenAIServingCompletion
    from vllm.entrypoints.serve.tokenize.serving import ServingTokenization
    from vllm.renderers.chat_utils import ChatTemplateConfig
    from vllm.renderers.online_renderer import OnlineRenderer

    from deployments.models.vllm.handlers import OWN, check_options, known

RENDERER = {
    "trust_request_chat_template": True,
    "trust_request_mm_kwargs": True,
    "enable_auto_tools": True,
    "exclude_tools_when_tool_choice_none": True,
    "tool_parser": "hermes",
    "tool_strict_level": "parameter",
    "reasoning_parser": "qwen3",
    "default_chat_template_kwargs": {"enable_thinking": False},
    "log_error_stack": True,
}


def test_the_renderer_gets_all_of_its_options() -> None:
    assert known({**RENDERER, "enable_log_outputs": True}, OnlineRenderer) == RENDERER


@pytest.mark.parametrize(
    "of", [OnlineRenderer, OpenAIServingChat, OpenAIServingCompletion, ServingTokenization, ChatTemplateConfig]
)
def test_each_handler_gets_whatever_it_takes(of: type) -> None:
    options = {name: object() for name in inspect.signature(of).parameters if name not in OWN}
    assert known({**options, "more": 1}, of) == options
    check_options(options)


@pytest.mark.parametrize("name", ["tool_call_parser", "enable_auto_tool_choice", "models", "request_logger"])
def test_an_option_that_would_do_nothing_is_refused_at_start(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        check_options({name: "x"})
