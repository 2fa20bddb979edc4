"""A seed makes an engine on a CPU say the same again, however it reads the prompt."""

from collections.abc import AsyncGenerator
from typing import Any

import orjson
import pytest
import pytest_asyncio

from demo_model import WEIGHTS
from deployments.config import VLLMModel
from deployments.models.protocol import Failed, ModelRequest, Reply
from deployments.models.vllm.replica import VLLMReplica

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.filterwarnings("ignore"),  # vLLM's own
    pytest.mark.asyncio(loop_scope="module"),
]

STEP_TOKENS = 128
ENGINE: dict[str, Any] = {
    "model": str(WEIGHTS),
    "dtype": "float32",
    "max_model_len": 1024,
    "max_num_batched_tokens": STEP_TOKENS,
    "enforce_eager": True,
    "distributed_executor_backend": "vllm.v1.executor.uniproc_executor.UniProcExecutor",
}
LONG = "Tell me about the cache. " * 40


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def replica() -> AsyncGenerator[VLLMReplica]:
    """A replica whose engine reads a long prompt in several steps."""
    settings: dict[str, Any] = {"engine": ENGINE, "chat": {"enable_prompt_tokens_details": True}}
    replica = VLLMReplica(VLLMModel(id="guide", environment={"VLLM_CPU_KVCACHE_SPACE": "1"}, **settings))
    await replica.start()
    yield replica
    replica._engine.client.shutdown()


async def answered(replica: VLLMReplica, salt: str, seed: int) -> tuple[str, int, int]:
    """Return an answer to the long prompt, how long that is and how much of it the engine knew."""
    body = {"model": "guide", "messages": [{"role": "user", "content": LONG}], "max_tokens": 30, "temperature": 1.0}
    request = orjson.dumps({**body, "seed": seed, "cache_salt": salt})
    async for message in replica.generate(ModelRequest("0" * 32, request, False)):
        match message:
            case Reply(reply):
                answer = orjson.loads(reply)
                known = (answer["usage"].get("prompt_tokens_details") or {}).get("cached_tokens") or 0
                return answer["choices"][0]["message"]["content"], message.prompt_tokens, known
            case Failed(error):
                raise error
            case _:
                pass
    raise AssertionError("no answer")


async def test_a_prompt_in_parts_is_answered_as_one_read_at_once(replica: VLLMReplica) -> None:
    in_parts, length, known = await answered(replica, "one", 7)
    assert length > 2 * STEP_TOKENS and known == 0
    at_once, length, known = await answered(replica, "one", 7)
    assert length - known <= STEP_TOKENS
    assert in_parts == at_once
    assert (await answered(replica, "two", 7))[0] == in_parts
    assert (await answered(replica, "two", 8))[0] != in_parts
