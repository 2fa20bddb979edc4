"""Stories of the titles that the model gives."""

import asyncio

import pytest

from tests.ui.chat.test_chat import ask
from tests.ui.conftest import Page, Reader, page_for, until
from tests.ui.stand_in import KEY, StandIn
from ui.settings import ApiKey, Settings
from ui.state.question_title import question_title
from ui.state.titles import INSTRUCTION, accepted

ASKED = "How does the cache work?"


async def test_the_model_titles_a_conversation_once(reader: Reader, api: StandIn) -> None:
    api.behaviour.title = "**How the cache works**\n"
    await reader.open("/")
    await ask(reader, ASKED)
    await until(lambda: reader.texts("entry-link") == ["How the cache works"])
    await until(lambda: [c["title"] for c in api.conversations.values()] == ["How the cache works"])
    (request,) = api.seen.completions
    said = [message["content"] for message in request["messages"]]
    assert said == [ASKED, api.behaviour.answer, INSTRUCTION]
    assert (request["model"], request["temperature"]) == ("guide", 0)
    assert request["max_tokens"] <= 50
    await ask(reader, "And the second time?")
    await until(lambda: api.seen.finished == 2)
    await asyncio.sleep(0.5)
    assert len(api.seen.completions) == 1


async def test_another_page_sees_the_title_too(page: Page, api: StandIn) -> None:
    api.behaviour.title = "The cache"
    first, second = page.new_reader(), page.new_reader()
    await second.open("/")
    await first.open("/")
    await ask(first, ASKED)
    await until(lambda: second.texts("entry-link") == ["The cache"], within_s=10)


async def test_what_the_reader_has_named_stays(reader: Reader, api: StandIn) -> None:
    api.behaviour.title = "Of the model"
    api.behaviour.hold_after = 2
    await reader.open("/")
    reader.writes(ASKED)
    await until(lambda: api.seen.tokens_sent == 2)
    (conversation,) = api.conversations.values()
    conversation["title"] = "Mine"
    api.go_on.set()
    await until(lambda: len(api.seen.completions) == 1)
    await asyncio.sleep(0.5)
    assert conversation["title"] == "Mine"


async def test_a_model_that_gives_no_title_leaves_the_question(reader: Reader, api: StandIn) -> None:
    await reader.open("/")
    await ask(reader, ASKED)
    await until(lambda: len(api.seen.completions) == 1)
    await asyncio.sleep(0.5)
    assert reader.texts("entry-link") == [ASKED]
    assert [c["title"] for c in api.conversations.values()] == [ASKED]


async def test_the_next_answer_is_titled_after_one_that_failed(reader: Reader, api: StandIn) -> None:
    api.behaviour.title = "The cache"
    api.behaviour.fail_after, api.behaviour.failing_request = 1, 1
    await reader.open("/")
    reader.writes(ASKED)
    await until(lambda: len(reader.texts("error-title")) == 1)
    assert not api.seen.completions
    api.behaviour.fail_after = None
    await ask(reader, "Once more")
    await until(lambda: reader.texts("entry-link") == ["The cache"])


async def test_a_small_model_is_not_asked_for_titles(reader: Reader, api: StandIn) -> None:
    api.behaviour.title = "The City of the City of Tokyo"
    api.behaviour.writes_titles = False
    await reader.open("/")
    await ask(reader, "# Tokyo\nWhat do people **eat** there? And where?")
    await asyncio.sleep(0.5)
    assert api.seen.completions == []
    assert reader.texts("entry-link") == ["Tokyo What do people eat there?"]


async def test_titles_can_be_switched_off(api: StandIn, api_url: str) -> None:
    api.behaviour.title = "The cache"
    async with page_for(Settings(api_url, ApiKey(KEY), titles=False)) as page:
        reader = page.new_reader()
        await reader.open("/")
        await ask(reader, ASKED)
        await until(lambda: api.seen.finished == 1)
        await asyncio.sleep(0.5)
        assert reader.texts("entry-link") == [ASKED]
        assert api.seen.completions == []


@pytest.mark.parametrize(
    ("message", "title"),
    [
        ("  Hello\n world ", "Hello world"),
        ("What is the capital of Japan? Answer in one word.", "What is the capital of Japan?"),
        ("Hi! What is the capital of Japan? Quick.", "Hi! What is the capital of Japan?"),
        ("Explain e.g. asyncio and version 3.12 to me. Please.", "Explain e.g. asyncio and version 3.12 to me"),
        ("日本の首都はどこですか。一言で答えてください。", "日本の首都はどこですか。"),
        ("Translate this:\n\n> Der **Hund** bellt. Laut.", "Translate this: Der Hund bellt"),
        ("## Fix `f(x)` in [this](https://a.example)\n\n```\nx\n```", "Fix f(x) in this"),
        ("```python\nprint(1)\nprint(2)\n```", "print(1) print(2)"),
        ("my_long_name * 2 * 3 <b>is</b> right", "my_long_name * 2 * 3 <b>is</b> right"),
        ("word " * 30, "word " * 11 + "word…"),
        ("x" * 200, "x" * 59 + "…"),
        ("x" * 60, "x" * 60),
        ("word " * 11 + "five5", "word " * 11 + "five5"),
        ("> " * 5_000 + "deep", "> " * 29 + ">…"),
        ("***", "***"),
        ("", ""),
    ],
)
def test_the_first_sentence_of_a_question_is_its_title(message: str, title: str) -> None:
    assert question_title(message) == title
    assert len(title) <= 60


@pytest.mark.parametrize(
    ("proposed", "title"),
    [
        ("Sorting algorithms compared", "Sorting algorithms compared"),
        ("Title: “Der Cache”", "Der Cache"),
        ("缓存如何工作", "缓存如何工作"),
        ("I am only a tiny demo model.", ""),
        ("one two three four five six seven eight nine ten", ""),
        ("First line\nSecond line", ""),
        ("x" * 61, ""),
        ("The answer:", ""),
        (" \n", ""),
        ('""', ""),
        ("a\u202eb", ""),
    ],
)
def test_only_one_short_line_is_a_title(proposed: str, title: str) -> None:
    assert accepted(proposed) == title
