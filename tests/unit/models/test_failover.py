"""An answer goes on when the replica that generates it is lost; only Ray and the replicas' ends are played."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from dataclasses import dataclass, field, replace
from typing import Any, Self

import orjson
import pytest
from ray.exceptions import RayActorError

from deployments.chat.generation import Generation
from deployments.config import ProviderModel, ScriptedModel, Timeouts
from deployments.errors import ChatLLMError, Unavailable
from deployments.models.assembly import assemble, payloads
from deployments.models.client import APPLICATION, ModelClient, ServedModel
from deployments.models.delivery.sender import Delivery
from deployments.models.delivery.wire import Destination
from deployments.models.failover import GIVEN_UP
from deployments.models.names import ModelNames
from deployments.models.presence import presence
from deployments.models.protocol import CANNOT_CONTINUE, Endpoint, Frames, Message, ModelRequest, Progress, Reply
from deployments.models.scripted.replica import ScriptedReplica

MODEL = ScriptedModel(id="dying", kind="scripted", tokens=12)
WHOLE = 1_000_000
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}


@dataclass
class Replicas:
    """Serve's handle: each call goes to a new replica, which dies after that many frames of its answer."""

    deaths: list[int]
    fails_call: bool = True
    """Whether the call fails with Ray's error; else the connection alone is lost."""
    hands_over: bool = False
    """Whether they are stopped instead, and hand the answer over."""
    replies: bool = False
    """Whether the call succeeds, as of a replica that is lost between the last message and its arrival."""
    asked: list[ModelRequest] = field(default_factory=list[ModelRequest])

    def options(self, **_options: Any) -> Self:
        return self

    @property
    def deliver(self) -> Self:
        return self

    def remote(self, model_request: ModelRequest, to: Destination) -> asyncio.Task[None]:
        self.asked.append(model_request)
        return asyncio.create_task(self._work(model_request, to, self.deaths.pop(0)))

    async def _work(self, request: ModelRequest, to: Destination, death: int) -> None:
        delivery = Delivery()
        if self.hands_over:
            messages = _handing_over(ScriptedReplica(MODEL).generate(request), death, delivery)
            await delivery.deliver(messages, to)
            return
        try:
            await delivery.deliver(_dying(ScriptedReplica(MODEL).generate(request), death), to)
        except _Death:
            if self.replies:
                asyncio.get_running_loop().call_later(0.05, delivery.close)
                delivery = Delivery()
                return
            await asyncio.sleep(0.01)  # what was sent arrives
            delivery.close()
            if death and not self.fails_call:
                await asyncio.sleep(30)
            raise RayActorError from None
        finally:
            delivery.close()


class _Death(Exception):
    """The process is gone."""


async def _dying(messages: AsyncGenerator[Message | Progress], death: int) -> AsyncGenerator[Message | Progress]:
    frames = 0
    async with aclosing(messages):
        async for message in messages:
            if death == 0 or frames == death:
                raise _Death
            frames += isinstance(message, Frames)
            yield message


async def _handing_over(
    messages: AsyncGenerator[Message | Progress], frames: int, delivery: Delivery
) -> AsyncGenerator[Message | Progress]:
    """Stop after that many frames, as a replica that Serve replaces."""
    async with aclosing(messages):
        async for message in messages:
            if frames == 0:
                delivery.hand_over(everything=True)
                await asyncio.sleep(30)
            frames -= isinstance(message, Frames)
            yield message


async def generated(
    request: dict[str, Any], replicas: Replicas, endpoint: Endpoint = "chat", settings: Any = MODEL
) -> Generation:
    """Return the ended generation of an answer on replicas that die."""
    presence(APPLICATION, settings.deployment).note(1)
    served: Any = ServedModel(settings, "identity", replicas)  # type: ignore[arg-type]
    client = ModelClient({settings.id: served}, ModelNames([settings.id], settings.id), Timeouts())
    await client.open()
    asked = ModelRequest("r", orjson.dumps(request), bool(request.get("stream")), False, endpoint)
    generation = Generation(lambda generation: client.generate(settings.id, asked, generation.put), None, float("inf"))
    try:
        with suppress(asyncio.CancelledError):
            await generation.ended()
    finally:
        await client.aclose()
    return generation


def chat(**more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": "one two three four"}], "stream": True, **more}


def unlike(event: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in event.items() if name != "created"}


CONTINUED: list[tuple[str, dict[str, Any], Endpoint]] = [
    ("plain text", chat(), "chat"),
    ("log probabilities", chat(logprobs=True, top_logprobs=2), "chat"),
    ("reasoning", chat(reasoning_effort="low"), "chat"),
    ("a tool call", chat(messages=[{"role": "user", "content": "call weather"}], tools=[TOOL]), "chat"),
    ("a completion", {"prompt": "once upon a time", "max_tokens": 12, "stream": True, "logprobs": 1}, "completion"),
]


@pytest.mark.parametrize("fails_call", [True, False], ids=["the call fails", "the connection is lost"])
@pytest.mark.parametrize(("_name", "request_", "endpoint"), CONTINUED, ids=[name for name, *_ in CONTINUED])
async def test_it_goes_on_exactly_after_what_was_sent(
    _name: str, request_: dict[str, Any], endpoint: Endpoint, fails_call: bool
) -> None:
    undisturbed = await generated(request_, Replicas([WHOLE]), endpoint)
    events = [unlike(event) for event in payloads(undisturbed.sent())]
    for death in range(len(events)):
        replicas = Replicas([death, WHOLE], fails_call)
        lived = await generated(request_, replicas, endpoint)
        assert isinstance(lived.end, Reply), death
        assert [unlike(event) for event in payloads(lived.sent())] == events
        assert unlike(orjson.loads(lived.end.body)) == unlike(orjson.loads(undisturbed.end.body))  # type: ignore[union-attr]
        assert unlike(assemble(payloads(lived.sent())))["choices"] == orjson.loads(lived.end.body)["choices"]
        assert lived.usage == undisturbed.usage
        assert (lived.end.prompt_tokens, lived.end.completion_tokens) == (
            undisturbed.end.prompt_tokens,  # type: ignore[union-attr]
            undisturbed.end.completion_tokens,  # type: ignore[union-attr]
        )
        # It was not told to begin anew: the tokens of every frame but the first, which only says who speaks.
        assert len(replicas.asked[1].resumed_tokens) == max(0, death - (endpoint == "chat"))


async def test_it_goes_on_where_the_replica_is_lost_behind_its_reply() -> None:
    undisturbed = await generated(chat(), Replicas([WHOLE]))
    lived = await generated(chat(), Replicas([4, WHOLE], replies=True))
    assert [*map(unlike, payloads(lived.sent()))] == [*map(unlike, payloads(undisturbed.sent()))]
    assert isinstance(lived.end, Reply)


async def test_both_replicas_in_turn_and_their_replacements_are_lost() -> None:
    undisturbed = await generated(chat(), Replicas([WHOLE]))
    lived = await generated(chat(), Replicas([3, 6, 8, 11, WHOLE]))
    assert [*map(unlike, payloads(lived.sent()))] == [*map(unlike, payloads(undisturbed.sent()))]


async def test_an_answer_may_be_handed_over_as_often_as_replicas_are_replaced() -> None:
    undisturbed = await generated(chat(), Replicas([WHOLE]))
    replicas = Replicas([0, 0, 3, 4, 4, 5, 6, 8, WHOLE], hands_over=True)
    lived = await generated(chat(), replicas)
    assert isinstance(lived.end, Reply)
    assert [*map(unlike, payloads(lived.sent()))] == [*map(unlike, payloads(undisturbed.sent()))]
    assert len(replicas.asked) == 9


async def test_a_replica_that_stops_and_is_chosen_again_and_again_is_not_asked_without_a_pause() -> None:
    replicas = Replicas([0] * 10_000, hands_over=True)
    with suppress(TimeoutError):
        await asyncio.wait_for(generated(chat(), replicas), 0.5)
    assert 1 < len(replicas.asked) < 8


async def test_what_cannot_be_handed_over_ends_in_one_error() -> None:
    replicas = Replicas([5, WHOLE], hands_over=True)
    generation = await generated(chat(n=2), replicas)
    assert len(replicas.asked) == 1
    assert_failed(generation, CANNOT_CONTINUE)


@pytest.mark.parametrize(
    "deaths", [[0, 0, WHOLE], [4, 4, WHOLE], [4, 1, WHOLE]], ids=["at once", "same token", "early"]
)
async def test_a_request_that_ends_its_replicas_is_given_up_after_the_second(deaths: list[int]) -> None:
    replicas = Replicas(deaths)
    generation = await generated(chat(), replicas)
    assert len(replicas.asked) == 2
    assert_failed(generation, GIVEN_UP)


async def test_one_that_ends_every_replica_a_little_later_is_given_up_as_well() -> None:
    replicas = Replicas(list(range(2, 20)))
    assert_failed(await generated(chat(), replicas), GIVEN_UP)
    assert len(replicas.asked) == 6


async def test_a_whole_answer_of_which_nothing_was_sent_is_generated_again() -> None:
    replicas = Replicas([0, WHOLE])
    generation = await generated(chat(stream=False), replicas)
    assert isinstance(generation.end, Reply)
    assert not replicas.asked[1].resumed and not replicas.asked[1].wants_tokens


async def test_embeddings_are_made_again() -> None:
    replicas = Replicas([0, WHOLE])
    settings = MODEL.model_copy(update={"embedding_dimensions": 4})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(f"{__name__}.MODEL", settings)
        generation = await generated({"input": "x"}, replicas, "embedding", settings)
    assert isinstance(generation.end, Reply)


async def test_several_choices_end_in_one_error_once_something_was_sent() -> None:
    replicas = Replicas([5, WHOLE])
    assert_failed(await generated(chat(n=2), replicas), CANNOT_CONTINUE)
    assert len(replicas.asked) == 1
    assert isinstance((await generated(chat(n=2), Replicas([0, WHOLE]))).end, Reply)


async def test_several_prompts_end_in_one_error_once_something_was_sent() -> None:
    request = {"prompt": ["once", "twice"], "stream": True}
    assert_failed(await generated(request, Replicas([3, WHOLE]), "completion"), CANNOT_CONTINUE)


async def test_a_provider_is_never_asked_twice() -> None:
    settings = ProviderModel(id="paid", kind="provider", model="openai:gpt")
    replicas = Replicas([0, WHOLE])
    generation = await generated(chat(), replicas, settings=settings)
    assert_failed(generation, "The model's replica was lost; please try again.")
    assert len(replicas.asked) == 1


def assert_failed(generation: Generation, message: str) -> None:
    error: ChatLLMError = generation.end.error  # type: ignore[union-attr]
    assert type(error) is Unavailable and error.message == message


async def test_a_replica_of_before_that_begins_anew_cannot_mix_two_answers() -> None:
    """It knows nothing of tokens: what it says is compared, and an answer that differs ends."""
    forgetful = Replicas([4, WHOLE])
    begun = forgetful.remote
    forgetful.remote = lambda request, to: begun(  # type: ignore[method-assign]
        request if len(forgetful.asked) == 0 else replace(request, wants_tokens=False, resumed=b""), to
    )
    undisturbed = await generated(chat(), Replicas([WHOLE]))
    lived = await generated(chat(), forgetful)
    assert [*map(unlike, payloads(lived.sent()))] == [*map(unlike, payloads(undisturbed.sent()))]
