"""An answer that is being parsed for reasoning and tool calls goes on elsewhere at each of its tokens."""

import shutil
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import orjson
import pytest
import pytest_asyncio

from deployments.config import VLLMModel
from deployments.models.vllm.replica import VLLMReplica
from tests.e2e.test_continued_answers import ENGINE, TOOL, chat, goes_on_as_if_undisturbed
from tests.launched import ROOT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore"),  # vLLM's own
    pytest.mark.asyncio(loop_scope="module"),
]

THINK, THOUGHT = 3, 6
"""Tokens of the demo model that a question and its answer have no use for."""
NAMES = {THINK: "<think>", THOUGHT: "</think>"}
PARSERS = [("deepseek_r1", "hermes"), ("qwen3", "hermes"), ("qwen3", "qwen3_xml")]

HERMES = r'<tool_call>\n\{"name": "look_up", "arguments": \{"name": "[a-z]{8}", "number": [1-9]{3}\}\}\n</tool_call>'
XML = (
    r"<tool_call>\n<function=look_up>\n<parameter=name>\n[a-z]{8}\n</parameter>\n"
    r"<parameter=number>\n[1-9]{3}\n</parameter>\n</function>\n</tool_call>"
)


def thinking(folder: Path) -> Path:
    """Write the demo model with words for two of its tokens that reasoning parsers look for, and return its folder."""
    weights = folder / "weights"
    shutil.copytree(ROOT / "demo_model/weights", weights)
    tokenizer = orjson.loads((weights / "tokenizer.json").read_bytes())
    for token in tokenizer["added_tokens"]:
        if token["id"] in NAMES:
            tokenizer["model"]["vocab"].pop(token["content"], None)
            token |= {"content": NAMES[token["id"]], "special": False}
            tokenizer["model"]["vocab"][token["content"]] = token["id"]
    (weights / "tokenizer.json").write_bytes(orjson.dumps(tokenizer))
    return weights


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def replica(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[VLLMReplica]:
    engine = {**ENGINE, "model": str(thinking(tmp_path_factory.mktemp("thinking")))}
    settings: dict[str, Any] = {"engine": engine, "environment": {"VLLM_CPU_KVCACHE_SPACE": "1"}}
    replica = VLLMReplica(VLLMModel(id="guide", **settings))
    await replica.start()
    yield replica
    replica.stop()


def parse_with(replica: VLLMReplica, reasoning_parser: str, tool_parser: str) -> None:
    """Put other parsers behind the engine, which knows nothing of them."""
    from vllm.renderers.online_renderer import OnlineRenderer

    from deployments.models.vllm.chat_renderer import ChatRenderer
    from deployments.models.vllm.handlers import known, open_handlers

    options: dict[str, Any] = {
        "reasoning_parser": reasoning_parser,
        "tool_parser": tool_parser,
        "enable_auto_tools": True,
        "chat_template": None,
        "chat_template_content_format": "auto",
    }
    engine = replica._engine
    client, models = engine.client, engine.adapters._names
    renderer = ChatRenderer(client.model_config, client.renderer, request_logger=None, **known(options, OnlineRenderer))
    handlers: Any = engine.handlers
    handlers |= open_handlers(client, models, renderer, options, ("generate",), 1.0)


def said_by(pattern: str, **more: Any) -> Any:
    """Return a request whose answer follows a pattern, and says the two tokens wherever that lets it."""
    return chat(
        temperature=1.0,
        seed=7,
        max_tokens=400,
        structured_outputs={"regex": pattern},
        logit_bias={str(token): 100 for token in NAMES},
        **more,
    )


@pytest.mark.parametrize(("reasoning", "tool"), PARSERS)
async def test_reasoning_and_what_follows_it_go_on(replica: VLLMReplica, reasoning: str, tool: str) -> None:
    parse_with(replica, reasoning, tool)
    answer = await goes_on_as_if_undisturbed(
        replica, *said_by(r"<think>[a-z ]{30}</think>[A-Za-z ]{30}"), *range(1, 200, 3)
    )
    message = answer["choices"][0]["message"]
    assert len(message["reasoning"]) == len(message["content"]) == 30


@pytest.mark.parametrize(("reasoning", "tool"), PARSERS)
async def test_a_tool_call_after_reasoning_goes_on(replica: VLLMReplica, reasoning: str, tool: str) -> None:
    parse_with(replica, reasoning, tool)
    pattern = r"<think>[a-z ]{12}</think>" + (HERMES if tool == "hermes" else XML)
    answer = await goes_on_as_if_undisturbed(replica, *said_by(pattern, tools=[TOOL]), *range(1, 200, 2))
    choice = answer["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    assert len(choice["message"]["reasoning"]) == 12
    [call] = choice["message"]["tool_calls"]
    arguments = orjson.loads(call["function"]["arguments"])
    assert call["function"]["name"] == "look_up"
    assert len(arguments["name"]) == 8
    assert 111 <= arguments["number"] <= 999


async def test_several_tool_calls_go_on(replica: VLLMReplica) -> None:
    parse_with(replica, *PARSERS[1])
    answer = await goes_on_as_if_undisturbed(
        replica, *said_by(rf"<think>[a-z ]{{5}}</think>{HERMES}\n{HERMES}", tools=[TOOL]), *range(1, 200, 5)
    )
    assert len(answer["choices"][0]["message"]["tool_calls"]) == 2


async def test_log_probabilities_beside_reasoning_go_on(replica: VLLMReplica) -> None:
    parse_with(replica, *PARSERS[0])
    answer = await goes_on_as_if_undisturbed(
        replica, *said_by(r"<think>[a-z ]{12}</think>[a-z ]{12}", logprobs=True, top_logprobs=2)
    )
    assert answer["choices"][0]["message"]["reasoning"]
