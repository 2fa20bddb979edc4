"""Stories of a service that is not there yet, refuses, or breaks off."""

from collections.abc import AsyncIterator

import pytest

from tests.ui.chat.test_chat import ask
from tests.ui.conftest import Page, Reader, page_for, until
from tests.ui.process import free_port
from tests.ui.stand_in import KEY, REQUEST_ID, StandIn
from ui.api.errors import ApiError, duration, explain
from ui.settings import ApiKey, Settings


@pytest.fixture(name="free_port")
def port() -> int:
    return free_port()


@pytest.fixture
async def early_page(free_port: int) -> AsyncIterator[Page]:
    """Run the page before there is any service."""
    async with page_for(Settings(f"http://127.0.0.1:{free_port}", ApiKey(KEY))) as page:
        yield page


async def test_the_page_waits_for_a_service_that_starts_and_then_for_its_model(
    early_page: Page, api: StandIn, free_port: int
) -> None:
    reader = early_page.new_reader()
    conversation_id = api.add_conversation("From before")
    api.add_message(conversation_id, "user", "Still here?")
    await reader.open(f"/c/{conversation_id}")
    await reader.sees("The service is starting")
    api.behaviour.models = {"guide": "loading"}
    with api.served(free_port):
        await reader.sees("The model is loading")
        elapsed = reader.texts("status-elapsed")
        await until(lambda: reader.texts("status-elapsed") != elapsed)
        await until(lambda: reader.texts("entry-link") == ["From before"])
        api.behaviour.models = {"guide": "ready"}
        await until(lambda: not reader.texts("status-title"))
        await until(lambda: reader.texts("bubble") == ["Still here?"])  # loaded without a reload of the page
        reader.writes("And now?")
        await until(lambda: "I am a stand-in." in reader.answer())


async def test_a_message_written_while_the_model_loads_is_sent_once_it_is_ready(reader: Reader, api: StandIn) -> None:
    api.behaviour.models = {"guide": "loading"}
    await reader.open("/")
    await reader.sees("The model is loading")
    reader.clicks("prompt-1")
    await reader.sees("Your message will be sent once the model is ready")
    assert not api.seen.requests
    api.behaviour.models = {"guide": "ready"}
    await until(lambda: "I am a stand-in." in reader.answer())
    assert reader.texts("bubble") == ["What is ChatLLM?"]


async def test_a_model_that_cannot_be_loaded_is_named_as_such(reader: Reader, api: StandIn) -> None:
    api.behaviour.models = {"guide": "failed"}
    await reader.open("/")
    await reader.sees("The model could not be loaded")


@pytest.mark.parametrize(
    ("status", "code", "title"),
    [
        (401, "invalid_api_key", "Access denied"),
        (404, "model_not_found", "This model is not available"),
        (400, "context_length_exceeded", "The message is too long for the model"),
        (429, "rate_limit_exceeded", "Rate limit reached"),
        (503, "overloaded", "The service is busy"),
        (503, "model_loading", "The model is still loading"),
        (503, "model_failed", "The model could not be loaded"),
        (503, "history_unavailable", "Your conversations are currently unavailable"),
        (504, "timeout", "The model took too long"),
        (502, "", "The service is currently unavailable"),
        (500, "internal_error", "Something went wrong"),
    ],
)
async def test_a_refusal_says_what_happened_and_gives_the_request_id(
    reader: Reader, api: StandIn, status: int, code: str, title: str
) -> None:
    api.behaviour.fail_status, api.behaviour.fail_code = status, code
    await reader.open("/")
    await ask(reader, "Hello")
    await reader.sees(title)
    await reader.sees(f"Request {REQUEST_ID}")
    await reader.sees_marked("send")


async def test_a_full_service_tells_how_long_to_wait_and_the_retry_succeeds_in_place(
    reader: Reader, api: StandIn
) -> None:
    api.behaviour.fail_status, api.behaviour.fail_code, api.behaviour.retry_after = 503, "overloaded", "7"
    await reader.open("/")
    await ask(reader, "Hello")
    await reader.sees("Try again in 7 seconds.")
    api.behaviour.fail_status = 0
    reader.clicks("retry")
    await until(lambda: "I am a stand-in." in reader.answer())
    assert not reader.texts("error-title") and reader.texts("bubble") == ["Hello"]
    assert len(api.conversations) == 1


async def test_a_failure_in_mid_stream_keeps_what_came_and_a_retry_replaces_it(reader: Reader, api: StandIn) -> None:
    api.behaviour.answer = "Half of this was said."
    api.behaviour.fail_after = 2
    conversation_id = api.add_conversation("Kept")
    earlier = api.add_message(conversation_id, "assistant", "Earlier.")
    await reader.open(f"/c/{conversation_id}")
    await ask(reader, "Say it")
    await reader.sees("Something went wrong")
    assert "Half of" in reader.answer()
    await reader.sees(f"Request {REQUEST_ID}")
    api.behaviour.fail_after = None
    reader.clicks("retry")
    await until(lambda: "was said." in reader.answer())
    assert reader.answer().count("Half of") == 1 and not reader.texts("error-title")
    assert api.seen.requests[1]["parent"] == earlier  # a branch beside the failed try, not a repetition after it


async def test_only_the_newest_failure_can_be_tried_again(reader: Reader, api: StandIn) -> None:
    api.behaviour.fail_status, api.behaviour.fail_code = 503, "overloaded"
    await reader.open("/")
    await ask(reader, "First")
    await reader.sees_marked("retry")
    reader.writes("Second")
    await until(lambda: len(reader.texts("error-title")) == 2)
    assert reader.texts("small") == ["Try again"]
    api.behaviour.fail_status = 0
    reader.clicks("retry")
    await until(lambda: "I am a stand-in." in reader.answer())
    assert [request["input"][0]["content"] for request in api.seen.requests] == ["First", "Second", "Second"]


async def test_an_answer_that_fails_tells_why_and_when_to_come_again(reader: Reader, api: StandIn) -> None:
    api.behaviour.fail_after, api.behaviour.fail_reason, api.behaviour.retry_after = 0, "model_loading", "7"
    await reader.open("/")
    await ask(reader, "Hello")
    await reader.sees("The model is still loading")
    await reader.sees("Try again in 7 seconds.")
    await reader.sees(f"Request {REQUEST_ID}")


async def test_a_question_that_found_no_store_is_kept_and_can_be_tried_again(reader: Reader, api: StandIn) -> None:
    await reader.open("/")
    await until(lambda: not reader.texts("status-title"))
    api.behaviour.history_fails = True
    reader.writes("Do not lose me")
    await reader.sees("Your conversations are currently unavailable")
    assert reader.texts("bubble") == ["Do not lose me"]
    await reader.sees_marked("retry")
    api.behaviour.history_fails = False
    reader.clicks("retry")
    await until(lambda: "I am a stand-in." in reader.answer())
    assert api.seen.requests[0]["input"][0]["content"] == "Do not lose me"


async def test_a_conversation_that_is_not_there_says_so(reader: Reader, api: StandIn) -> None:
    await reader.open("/c/conv_unknown")
    await reader.sees("This conversation does not exist")


async def test_a_missing_key_is_named(api_url: str) -> None:
    async with page_for(Settings(api_url, ApiKey())) as page:
        reader = page.new_reader()
        await reader.open("/")
        await ask(reader, "Hello")
        await reader.sees("This page has no API key")


def test_an_unknown_error_shows_the_service_s_own_words() -> None:
    assert explain(ApiError("brand_new", "The moon is in the way.", status=418)).advice == "The moon is in the way."


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.2, "1 second"), (1, "1 second"), (42, "42 seconds"), (300, "5 minutes")]
)
def test_durations_are_told_as_people_do(seconds: float, words: str) -> None:
    assert duration(seconds) == words
