"""Stories of several models: who is offered, how each stands, and what a message to one that failed comes to."""

import asyncio

import pytest

from tests.ui.chat.test_chat import ask
from tests.ui.conftest import Page, Reader, until
from tests.ui.stand_in import StandIn
from ui.api.readiness import Status
from ui.chat.status_line import progress


async def test_only_models_that_can_chat_are_offered(reader: Reader, api: StandIn) -> None:
    api.behaviour.models = {"embedding-small": "ready", "guide": "ready", "larger": "loading", "broken": "failed"}
    await reader.open("/")
    await reader.sees_marked("picker")
    assert reader.texts("choice") == ["guide"]
    reader.clicks("picker")
    await reader.sees("larger · loading")
    await reader.sees("broken · failed to load")
    await reader.should_not_see("embedding-small")
    await ask(reader, "Who are you?")
    await reader.sees("I am a stand-in.")
    assert api.seen.requests[0]["model"] == "guide"


async def test_both_sides_of_a_comparison_can_chat(reader: Reader, api: StandIn) -> None:
    api.behaviour.models = {"broken": "failed", "embedding-small": "ready", "guide": "ready", "larger": "ready"}
    await reader.open("/compare")
    await until(lambda: reader.texts("choice") == ["guide", "larger"])
    await reader.should_not_see("embedding-small")


async def test_a_message_to_a_model_that_failed_is_not_promised_to_be_sent(reader: Reader, api: StandIn) -> None:
    api.behaviour.models = {"guide": "loading", "larger": "ready"}
    await reader.open("/")
    await reader.sees_marked("picker")
    reader.clicks("picker")
    reader.clicks("model-guide")
    await reader.sees("The model is loading")
    reader.writes("Hello?")
    await reader.sees("Your message will be sent once the model is ready")
    api.behaviour.models = {"guide": "failed", "larger": "ready"}
    await reader.sees("This model could not be loaded. Choose another one. Your message has been kept.")
    await reader.sees("The model could not be loaded")
    reader.writes("Hello?")
    assert not api.seen.requests
    reader.clicks("picker")
    reader.clicks("model-larger")
    await reader.sees("Enter to send")
    reader.writes("Hello?")
    await reader.sees("I am a stand-in.")
    assert api.seen.requests[0]["model"] == "larger"


@pytest.mark.parametrize(("status", "title"), [("loading", "is loading"), ("failed", "could not be loaded")])
async def test_another_model_answers_in_place_of_one_that_cannot(
    reader: Reader, api: StandIn, status: str, title: str
) -> None:
    api.behaviour.models = {"guide": status, "larger": "ready", "third": "ready"}
    api.behaviour.fallback = {"guide": ["missing", "larger"]}
    await reader.open("/?model=guide")
    await reader.sees(f"The model {title}")
    await reader.sees("larger is answering in its place.")
    await reader.sees("Enter to send")
    reader.writes("Who are you?")
    await reader.sees("larger answered in place of guide.")
    assert api.seen.requests[0]["model"] == "guide"


async def test_a_fallback_that_cannot_answer_either_is_no_reason_to_send(reader: Reader, api: StandIn) -> None:
    api.behaviour.models = {"guide": "loading", "larger": "loading"}
    api.behaviour.fallback = {"guide": ["larger"]}
    await reader.open("/")
    await reader.sees("The model is loading")
    reader.writes("Hello?")
    await reader.sees("Your message will be sent once the model is ready")
    api.behaviour.models = {"guide": "loading", "larger": "ready"}
    await reader.sees("larger answered in place of guide.")


async def test_a_message_to_a_model_that_is_asleep_is_sent_at_once(reader: Reader, api: StandIn) -> None:
    api.behaviour.models = {"guide": "asleep"}
    await reader.open("/")
    await reader.sees("The model is asleep")
    await reader.sees("Your message wakes it up: about 40 s.")
    await reader.sees("Enter to send")
    reader.writes("Who are you?")
    await until(lambda: bool(api.seen.requests))
    api.behaviour.models = {"guide": "loading"}
    await reader.sees("The model is waking up")
    await reader.sees("The answer begins as soon as it is ready.")
    api.behaviour.models = {"guide": "ready"}
    await reader.sees("I am a stand-in.")
    await until(lambda: not reader.texts("status-title"))


def test_what_is_left_of_a_start_is_said_where_it_is_known() -> None:
    assert progress(Status("loading", 12.0, step="compiling", expected_s=45.0, remaining_s=33.4)) == (
        "Compiling · about 33 s left"
    )


def test_how_far_a_model_has_come_is_said_with_how_long_it_took_before() -> None:
    status = Status("loading", 12.0, step="reading_weights", percent=40, expected_s=45.0)
    assert progress(status) == "Loading weights 40% · 12 s of about 45 s"
    assert progress(Status("loading", 50.0, expected_s=45.0)) == "50 s"
    assert progress(Status("loading", 5.0, step="dancing")) == "5 s"


async def test_a_page_is_not_ready_before_it_knows_a_model_to_ask(page: Page, api: StandIn) -> None:
    api.behaviour.models_delay_s = 1.0
    first, second = page.new_reader(), page.new_reader()
    await first.open("/")
    await asyncio.sleep(0.5)  # the service has told by now that it is ready, and not yet its models
    await second.open("/")
    await ask(second, "Who are you?")
    await until(lambda: api.seen.finished == 1)
    assert [request["model"] for request in api.seen.requests] == ["guide"]
