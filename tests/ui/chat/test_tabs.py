"""Stories of several tabs, of reloads and of direct links."""

import json
import re
from collections import defaultdict

import pytest
from nicegui import Client

from tests.ui.chat.test_chat import ask
from tests.ui.conftest import Page, Reader, until
from tests.ui.sidebar.test_sidebar import choose
from tests.ui.stand_in import StandIn
from ui.state import deletions

DELETED = "This chat was deleted"
SCRIPTS: defaultdict[str, list[str]] = defaultdict(list)
"""What the page has let each client run."""


@pytest.fixture(autouse=True)
def noted_scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Client.run_javascript

    def noting(client: Client, code: str, **options: float) -> object:
        SCRIPTS[client.id].append(code)
        return run(client, code, **options)

    monkeypatch.setattr(Client, "run_javascript", noting)
    SCRIPTS.clear()


async def test_the_tab_has_the_title_of_the_chat_from_the_first_html_on(page: Page, api: StandIn) -> None:
    conversation_id = api.add_conversation("Boats & harbours")
    html = (await page.new_reader().http_client.get(f"/c/{conversation_id}")).text
    assert "<title>Boats &amp; harbours</title>" in html
    assert "<title>ChatLLM</title>" in (await page.new_reader().http_client.get("/")).text


async def test_the_tab_follows_the_title_of_the_chat(page: Page, api: StandIn) -> None:
    api.behaviour.title = "A boat of wood"
    first, second = await opened(page, "/"), await opened(page, "/")
    await ask(first.reader, "How do I build a boat?")
    await until(lambda: first.title == "A boat of wood")
    (conversation_id,) = api.conversations
    await second.reader.sees("A boat of wood")
    second.reader.clicks(f"open-{conversation_id}")
    await until(lambda: second.title == "A boat of wood")
    await choose(first.reader, "rename", conversation_id)
    await first.reader.sees_marked("save-title")
    first.reader.find(marker="title").clear().type("Of wood")
    first.reader.submits("renaming")
    await until(lambda: first.title == second.title == "Of wood")
    assert first.address == second.address == f"/c/{conversation_id}"
    assert first.reader.texts("entry-link") == second.reader.texts("entry-link") == ["Of wood"]


async def test_a_chat_that_is_deleted_leaves_every_tab_and_can_be_had_back_in_all(page: Page, api: StandIn) -> None:
    gone = with_answer(api, "Gone", "An answer")
    api.add_conversation("Kept", age_s=60)
    first, second = await opened(page, f"/c/{gone}"), await opened(page, f"/c/{gone}")
    for tab in (first, second):
        await until(lambda tab=tab: tab.title == "Gone" and tab.reader.texts("entry-link") == ["Gone", "Kept"])
    await choose(first.reader, "delete", gone)
    await second.reader.sees(DELETED)
    await until(lambda: second.title == "ChatLLM")
    assert first.reader.texts("entry-link") == second.reader.texts("entry-link") == ["Kept"]
    assert not first.reader.texts("error-title")
    third = await opened(page, f"/c/{gone}")  # a reload finds it no more, though it is not gone yet
    await third.reader.sees(DELETED)
    first.reader.find(content="Undo").click()
    for tab in (first, second, third):
        await until(lambda tab=tab: "An answer" in tab.reader.answer() and tab.title == "Gone")
        await until(lambda tab=tab: tab.reader.texts("entry-link") == ["Gone", "Kept"])
        assert tab.address == f"/c/{gone}" and not tab.reader.texts("error-title")


async def test_what_is_written_where_a_chat_was_deleted_begins_a_new_one(
    page: Page, api: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deletions, "UNDO_S", 0.5)
    gone = with_answer(api, "Gone", "An answer")
    first, second = (await opened(page, f"/c/{gone}")).reader, (await opened(page, f"/c/{gone}")).reader
    await until(lambda: first.texts("entry-link") and second.texts("entry-link"))
    await choose(first, "delete", gone)
    await second.sees(DELETED)
    await ask(second, "And now?")
    await until(lambda: "I am a stand-in." in second.answer())
    await until(lambda: gone not in api.conversations)
    assert second.texts("bubble") == ["And now?"] and not second.texts("error-title")


async def test_a_chat_that_could_not_be_deleted_comes_back_in_every_tab(
    page: Page, api: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deletions, "UNDO_S", 0.5)
    kept = with_answer(api, "Kept", "An answer")
    first, second = (await opened(page, "/")).reader, (await opened(page, f"/c/{kept}")).reader
    await until(lambda: first.texts("entry-link") and second.texts("entry-link"))
    api.behaviour.history_fails = True
    await choose(first, "delete", kept)
    await second.sees(DELETED)
    await until(lambda: first.texts("entry-link") == second.texts("entry-link") == ["Kept"])


async def test_the_branch_that_was_walked_to_is_read_again_after_a_reload(page: Page, api: StandIn) -> None:
    conversation_id = api.add_conversation("Branches")
    question = api.add_message(conversation_id, "user", "Q")
    chosen = api.add_message(conversation_id, "assistant", "The first answer", parent=question)
    api.add_message(conversation_id, "assistant", "The second answer", parent=question)
    tab = await opened(page, f"/c/{conversation_id}")
    await until(lambda: "The second answer" in tab.reader.answer())
    tab.reader.clicks("previous-1")
    await until(lambda: tab.address == f"/c/{conversation_id}?branch={chosen}")
    again, other = await opened(page, tab.address), await opened(page, f"/c/{conversation_id}?branch=msg_unknown")
    await until(lambda: "The first answer" in again.reader.answer())
    await until(lambda: "The second answer" in other.reader.answer())
    await ask(again.reader, "On from here")
    await until(lambda: api.seen.finished == 1)
    assert api.seen.requests[0]["parent"] == chosen
    await until(lambda: again.address == f"/c/{conversation_id}")


async def test_the_chosen_model_is_chosen_after_a_reload(page: Page, api: StandIn) -> None:
    api.behaviour.models = {"guide": "ready", "larger": "ready"}
    tab = await opened(page, "/")
    await picks(tab.reader, "larger")
    await until(lambda: tab.address == "/?model=larger")
    again = (await opened(page, tab.address)).reader
    await until(lambda: again.texts("model") == ["larger"])
    stored = with_answer(api, "Stored", "An answer")
    before = (await opened(page, f"/c/{stored}")).reader
    await until(lambda: "An answer" in before.answer())
    await picks(before, "larger")
    await until(lambda: api.conversations[stored]["metadata"] == {"model": "larger"})
    after = (await opened(page, f"/c/{stored}")).reader
    await until(lambda: after.texts("model") == ["larger"])


async def test_a_model_that_does_not_exist_is_not_chosen_by_a_link(page: Page, api: StandIn) -> None:
    reader = (await opened(page, "/?model=" + "x" * 600)).reader
    await ask(reader, "Who are you?")
    await until(lambda: api.seen.finished == 1)
    assert api.seen.requests[0]["model"] == "guide"
    assert next(iter(api.conversations.values()))["metadata"] == {"model": "guide"}


class Tab:
    """A reader's tab: what the page has made of its address and its title by now."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader

    @property
    def address(self) -> str:
        return self._shown[0]

    @property
    def title(self) -> str:
        return self._shown[1]

    @property
    def _shown(self) -> tuple[str, str]:
        address = title = ""
        for script in SCRIPTS[self.reader.page.id]:
            if visit := re.fullmatch(r"chatllm\.visit\((.*)\)", script):
                address, title, _ = json.loads(f"[{visit[1]}]")
            elif named := re.fullmatch(r"document\.title = (.*)", script):
                title = json.loads(named[1])
        return address, title


async def opened(page: Page, path: str) -> Tab:
    """Open another tab."""
    tab = Tab(page.new_reader())
    await tab.reader.open(path)
    return tab


def with_answer(api: StandIn, title: str, answer: str) -> str:
    """Store a conversation of one question and its answer."""
    conversation_id = api.add_conversation(title)
    api.add_message(conversation_id, "user", "Q")
    api.add_message(conversation_id, "assistant", answer)
    return conversation_id


async def picks(reader: Reader, model: str) -> None:
    """Choose another model."""
    await reader.sees_marked("picker")
    reader.clicks("picker")
    await reader.sees_marked(f"model-{model}")
    reader.clicks(f"model-{model}")
