"""Any field of vLLM's AsyncEngineArgs can stand in the configuration, its groups as plain mappings."""

import pytest


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # vLLM's own imports
def test_groups_become_vllms_classes() -> None:
    from vllm.engine.arg_utils import AsyncEngineArgs

    from deployments.models.vllm.engine import engine_arguments

    settings = {
        "model": "m",
        "max_model_len": 64,
        "structured_outputs_config": {"backend": "xgrammar", "disable_any_whitespace": True},
    }
    arguments = AsyncEngineArgs(**engine_arguments(settings))
    assert arguments.structured_outputs_config.disable_any_whitespace is True
    assert arguments.max_model_len == 64
