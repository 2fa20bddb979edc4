"""vLLM's engine goes on after tokens that another replica generated, as if it had generated them itself."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest
import pytest_asyncio

from deployments.chat.continuation import Continuation
from deployments.config import VLLMModel
from deployments.models.assembly import assemble, payloads
from deployments.models.protocol import Endpoint, Failed, Frames, ModelRequest, Progress, Reply, unpacked
from deployments.models.vllm.replica import VLLMReplica
from tests.launched import ROOT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore"),  # vLLM's own
    pytest.mark.asyncio(loop_scope="module"),
]

STEP_TOKENS = 128
ENGINE = {
    "model": str(ROOT / "demo_model/weights"),
    "dtype": "float32",
    "max_model_len": 1024,
    "max_num_batched_tokens": STEP_TOKENS,
    "enforce_eager": True,
    "distributed_executor_backend": "vllm.v1.executor.uniproc_executor.UniProcExecutor",
}
SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 12}, "number": {"type": "integer", "maximum": 999}},
    "required": ["name", "number"],
    "additionalProperties": False,
}
TOOL = {"type": "function", "function": {"name": "look_up", "parameters": SCHEMA}}
SEEDED = {"temperature": 1.0, "seed": 7}
LONG = "Tell me about the cache. " * 40


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def replica() -> AsyncGenerator[VLLMReplica]:
    chat = {"enable_auto_tools": True, "tool_parser": "hermes", "enable_prompt_tokens_details": True}
    settings: dict[str, Any] = {"engine": ENGINE, "chat": chat, "environment": {"VLLM_CPU_KVCACHE_SPACE": "1"}}
    replica = VLLMReplica(VLLMModel(id="guide", **settings))
    await replica.start()
    yield replica
    replica.stop()


@dataclass
class Said:
    """What came of a request."""

    frames: list[Frames] = field(default_factory=list[Frames])
    reply: Reply | None = None

    def sent(self, end: int | None = None) -> bytes:
        return b"".join(frame.data for frame in self.frames[:end])

    def tokens(self, end: int | None = None) -> bytes:
        return b"".join(frame.tokens or b"" for frame in self.frames[:end])


async def said(replica: VLLMReplica, endpoint: Endpoint, body: dict[str, Any], resumed: bytes = b"") -> Said:
    said, wanted = Said(), {"model": "guide", "stream": True, **body}
    request = ModelRequest("0" * 32, orjson.dumps(wanted), True, False, endpoint, wants_tokens=True, resumed=resumed)
    async for message in replica.generate(request):
        match message:
            case Frames():
                said.frames.append(message)
            case Reply():
                said.reply = message
            case Failed(error):
                raise error
            case Progress():
                pass
    assert said.reply is not None
    return said


def chat(text: str = "What is this product?", **more: Any) -> tuple[Endpoint, dict[str, Any]]:
    return "chat", {"messages": [{"role": "user", "content": text}], "max_tokens": 40, **more}


def completion(**more: Any) -> tuple[Endpoint, dict[str, Any]]:
    return "completion", {"prompt": "The service", "max_tokens": 40, **more}


CASES: dict[str, tuple[Endpoint, dict[str, Any]]] = {
    "greedy": chat(temperature=0),
    "to its own end": chat(temperature=0, max_tokens=400),
    "seeded": chat(**SEEDED),
    "seeded, few candidates": chat(**SEEDED, top_p=0.9, top_k=40),
    "penalties": chat(temperature=0, frequency_penalty=1.0, presence_penalty=0.5, repetition_penalty=1.2),
    "seeded, penalties": chat(**SEEDED, frequency_penalty=1.5),
    "stop": chat(temperature=0, stop=[" of ", " the "], min_tokens=12),
    "min_tokens": chat("Hello", temperature=0, min_tokens=35),
    "log probabilities": chat(temperature=0, logprobs=True, top_logprobs=3),
    "log probabilities alone": chat(temperature=0, logprobs=True),
    "json_schema": chat(
        **SEEDED, response_format={"type": "json_schema", "json_schema": {"name": "it", "schema": SCHEMA}}
    ),
    "a choice": chat(**SEEDED, structured_outputs={"choice": ["a long choice of words", "a longer choice of words"]}),
    "a forced tool call": chat(**SEEDED, tools=[TOOL], tool_choice="required"),
    "a named tool call": chat(
        **SEEDED, tools=[TOOL], tool_choice={"type": "function", "function": {"name": "look_up"}}
    ),
    "tools at will": chat(temperature=0, tools=[TOOL]),
    "several greedy choices": chat(temperature=0, n=2),
    "token ids": chat(temperature=0, return_token_ids=True),
    "a prompt in parts": chat(LONG, **SEEDED),
    "a completion": completion(temperature=0),
    "a completion, seeded": completion(**SEEDED, logprobs=2),
    "a completion of tokens": completion(temperature=0, stop=["."], min_tokens=5),
    "biased": completion(temperature=0, logit_bias={"11": 5, "13": -100}),
    "bad words": completion(temperature=0, bad_words=["the"]),
}


def plain(answer: dict[str, Any]) -> dict[str, Any]:
    """Return an answer without what is made up for each."""
    found = orjson.loads(orjson.dumps(answer))
    for name in ("id", "created", "usage"):
        found.pop(name, None)
    for choice in found["choices"]:
        for call in (choice.get("message") or {}).get("tool_calls") or ():
            call.pop("id")
    return found


def near(value: Any) -> Any:
    """Return what equals a value whose log probabilities were computed in steps of another size."""
    if isinstance(value, dict):
        return {name: near(one) for name, one in value.items()}
    if isinstance(value, list):
        return [near(one) for one in value]
    return pytest.approx(value, abs=0.01) if isinstance(value, float) else value


async def goes_on_as_if_undisturbed(
    replica: VLLMReplica, endpoint: Endpoint, body: dict[str, Any], *cuts: int
) -> dict[str, Any]:
    """Return the undisturbed answer, after having it go on elsewhere at some of its frames, or at the `cuts`."""
    undisturbed = await said(replica, endpoint, body)
    assert undisturbed.reply is not None
    whole, ids = near(plain(assemble(payloads(undisturbed.sent())))), unpacked(undisturbed.tokens())
    assert len(ids) * (body.get("n") or 1) == undisturbed.reply.completion_tokens > 3
    last = len(undisturbed.frames)
    for cut in sorted({1, 2, 3, last // 3, last // 2, last - 2, last - 1, last, *(cut for cut in cuts if cut < last)}):
        again = await said(replica, endpoint, body, undisturbed.tokens(cut))
        assert again.reply is not None
        assert unpacked(again.tokens()) == ids, cut
        continuation = Continuation(undisturbed.sent(cut))
        rests = [continuation.rest(frame) for frame in again.frames]
        assert not any(isinstance(rest, Failed) for rest in rests), cut
        left = b"".join(rest.data for rest in rests if isinstance(rest, Frames))
        assert plain(assemble(payloads(undisturbed.sent(cut) + left))) == whole, cut
        reply = continuation.rest(again.reply)
        assert isinstance(reply, Reply)
        assert plain(orjson.loads(reply.body))["choices"] == near(
            plain(orjson.loads(undisturbed.reply.body))["choices"]
        )
        assert (reply.prompt_tokens, reply.completion_tokens, reply.finish_reason) == (
            undisturbed.reply.prompt_tokens,
            undisturbed.reply.completion_tokens,
            undisturbed.reply.finish_reason,
        )
    assert replica._engine.load.unfinished == 0
    return orjson.loads(undisturbed.reply.body)


@pytest.mark.parametrize(("endpoint", "body"), CASES.values(), ids=CASES)
async def test_it_goes_on_as_if_undisturbed(replica: VLLMReplica, endpoint: Endpoint, body: dict[str, Any]) -> None:
    await goes_on_as_if_undisturbed(replica, endpoint, body)


async def test_an_answer_by_chance_goes_on_with_its_own_tokens(replica: VLLMReplica) -> None:
    endpoint, body = chat(temperature=1.0)
    first = await said(replica, endpoint, body)
    again = await said(replica, endpoint, body, first.tokens(20))
    assert again.tokens().startswith(first.tokens(20))
    assert again.sent(19).count(b"content") == 19


async def test_what_cannot_be_continued_tells_no_tokens(replica: VLLMReplica) -> None:
    for endpoint, body in (
        chat(temperature=1.0, n=2),
        completion(temperature=1.0, n=2),
        completion(prompt=["a", "b"]),
        completion(echo=True),
    ):
        assert all(frame.tokens is None for frame in (await said(replica, endpoint, body)).frames), body


async def test_a_client_cannot_begin_an_answer_with_tokens_of_its_own(replica: VLLMReplica) -> None:
    endpoint, body = chat(temperature=0)
    forged = {**body, "vllm_xargs": {"chatllm_resumed": [1, 2, 10_000_000]}}
    assert (await said(replica, endpoint, forged)).tokens() == (await said(replica, endpoint, body)).tokens()


async def test_tokens_that_the_grammar_refuses_end_the_request_alone(replica: VLLMReplica) -> None:
    endpoint, body = CASES["json_schema"]
    other = await said(replica, *chat(temperature=0))
    with pytest.raises(Exception, match="The model"):
        await said(replica, endpoint, body, other.tokens(9))
    assert (await said(replica, endpoint, body)).reply is not None


async def test_a_seeded_prompt_in_parts_is_answered_as_one_read_at_once(replica: VLLMReplica) -> None:
    async def answered(salt: str, seed: int) -> tuple[bytes, int]:
        """Return the tokens of an answer, and how many of the prompt's the engine had to read for it."""
        answer = await said(replica, *chat(LONG, temperature=1.0, seed=seed, cache_salt=salt))
        assert answer.reply is not None
        details = orjson.loads(answer.reply.body)["usage"].get("prompt_tokens_details") or {}
        return answer.tokens(), answer.reply.prompt_tokens - (details.get("cached_tokens") or 0)

    in_parts, read = await answered("one", 7)
    assert read > 2 * STEP_TOKENS
    at_once, read = await answered("one", 7)
    assert read <= STEP_TOKENS
    assert in_parts == at_once == (await answered("two", 7))[0] != (await answered("two", 8))[0]
