"""However long a text takes to render, no page waits for it but the one that shows it, and that one not for long."""

import asyncio
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from tests.ui.chat.test_chat import ask
from tests.ui.conftest import Page, Reader, until
from tests.ui.stand_in import StandIn
from ui.markdown import pool as pool_module
from ui.markdown.plain_text import MAX_MARKDOWN_CHARS, plain_text
from ui.markdown.pool import IncrementalMarkdown, Renderer, RenderPool

MAX_STALL_S = 0.4  # of CPU; each of these texts takes seconds
ENDLESS = "```make\n" + "(" * 19_000 + "\n```\n\n"
HOSTILE = {
    "images that do not end": "![" * 49_000,
    "references": "[a][" * 24_000,
    "tables": "a|b\n-|-\n" * 12_000,
    "code that its lexer reads again and again": ENDLESS * 5,
}


@dataclass
class Stall:
    """The longest time that the event loop was at work without a turn for anyone else."""

    cpu_s: float = 0.0


@contextmanager
def watched() -> Iterator[Stall]:
    """Measure in CPU time, so that a busy machine does not count."""
    stall = Stall()

    async def watch() -> None:
        while True:
            before = time.thread_time()
            await asyncio.sleep(0.01)
            stall.cpu_s = max(stall.cpu_s, time.thread_time() - before)

    watching = asyncio.create_task(watch())
    try:
        yield stall
    finally:
        watching.cancel()


@pytest.fixture
async def pool() -> AsyncGenerator[RenderPool]:
    pool = RenderPool()
    yield pool
    await pool.aclose()


async def test_stored_answers_stall_nobody(page: Page, api: StandIn) -> None:
    """Twelve such answers kept every visitor's page frozen for a minute."""
    conversation_id = api.add_conversation("Hostile")
    for number in range(12):
        api.add_message(conversation_id, "user", f"Question {number}")
        api.add_message(conversation_id, "assistant", list(HOSTILE.values())[number % 4] + f" end {number}")
    victim, other = page.new_reader(), page.new_reader()
    await other.open("/")
    with watched() as stall:
        await victim.open(f"/c/{conversation_id}")
        await until(lambda: "end 11" in victim.answer())
        await ask(other, "Does it still answer?")
        await until(lambda: "I am a stand-in." in other.answer())
        await page.service.shared.renderer.render("This text is the last one.")
    assert stall.cpu_s < MAX_STALL_S


@pytest.mark.parametrize("name", HOSTILE)
async def test_an_answer_stalls_nobody_while_it_comes(reader: Reader, api: StandIn, name: str) -> None:
    api.behaviour.answer = HOSTILE[name] + " The end."
    await reader.open("/")
    with watched() as stall:
        await ask(reader, "Go on")
        await until(lambda: "The end." in reader.answer(), within_s=60)
    assert stall.cpu_s < MAX_STALL_S


async def test_a_shared_conversation_stalls_nobody(reader: Reader, api: StandIn) -> None:
    conversation_id = api.add_conversation("Shared")
    for text in HOSTILE.values():
        api.add_message(conversation_id, "assistant", text)
        api.add_message(conversation_id, "user", "Next")
    shown = [{"role": item["role"], "text": item["content"][0]["text"]} for item in api.items[conversation_id]]
    about = {"title": "Shared", "created_at": 0, "messages": shown, "is_cut": False}
    api.shares["token"] = {"conversation": conversation_id, "share": {"id": "share_1"}, "shown": about}
    with watched() as stall:
        response = await reader.http_client.get("/s/token", timeout=60)
    assert response.status_code == 200 and response.text.count("Next") == 4
    assert stall.cpu_s < MAX_STALL_S


async def test_compared_found_and_titled_texts_stall_nobody(reader: Reader, api: StandIn) -> None:
    api.behaviour.answer = api.behaviour.title = HOSTILE["references"] + " The end."
    conversation_id = api.add_conversation(HOSTILE["tables"][:2_000])
    api.add_message(conversation_id, "user", HOSTILE["images that do not end"] + " needle")
    with watched() as stall:
        await reader.open("/compare")
        await ask(reader, "Both of you")
        await until(lambda: reader.answer().count("The end.") == 2, within_s=60)
        await reader.open("/")
        reader.find(marker="search").type("needle")
        await reader.sees_marked(f"found-{conversation_id}")
    assert stall.cpu_s < MAX_STALL_S


async def test_what_takes_too_long_is_shown_as_it_is_and_the_next_text_is_rendered(pool: RenderPool) -> None:
    renderer = Renderer(pool)
    endless = HOSTILE["code that its lexer reads again and again"]
    assert await renderer.render(endless) == plain_text(endless)
    assert await renderer.render("**bold**") == '<p dir="auto"><strong>bold</strong></p>\n'
    assert renderer.known(endless) == plain_text(endless)  # it is not tried again
    growing = IncrementalMarkdown(renderer)
    assert "<strong>" in (await growing.feed("**bold**\n")).tail
    grown = await growing.feed("**bold**\n" + endless)
    assert grown.settled + grown.tail == plain_text("**bold**\n" + endless)


async def test_an_account_whose_texts_take_too_long_keeps_no_other_waiting(
    pool: RenderPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool_module, "FAULTS_AT_ONCE", 1)
    hostile, other = Renderer(pool), Renderer(pool)
    for number in range(2):
        await hostile.render(HOSTILE["code that its lexer reads again and again"] + str(number))
    began = time.process_time()
    for number in range(20):
        text = f"{ENDLESS}{number}"
        assert await hostile.render(text) == plain_text(text)
    assert time.process_time() - began < 1
    assert await other.render("*a*") == '<p dir="auto"><em>a</em></p>\n'


async def test_accounts_do_not_learn_what_another_one_has_rendered(pool: RenderPool) -> None:
    one, other = Renderer(pool), Renderer(pool)
    html = await one.render("a secret")
    assert one.known("a secret") == html
    assert other.known("a secret") is None


async def test_a_text_past_the_bound_is_not_sent_to_a_process(pool: RenderPool) -> None:
    text = "*a* " * MAX_MARKDOWN_CHARS
    assert await Renderer(pool).render(text) == plain_text(text)
    assert (await IncrementalMarkdown(Renderer(pool)).feed(text)).tail == plain_text(text)
