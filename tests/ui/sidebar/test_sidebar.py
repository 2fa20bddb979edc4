"""Stories of the list of conversations."""

from datetime import datetime, timedelta

import pytest
from nicegui import ui
from nicegui.elements.upload_files import SmallFileUpload

from tests.ui.chat.test_chat import ask
from tests.ui.conftest import Page, Reader, until
from tests.ui.stand_in import StandIn
from ui.api.schema import Conversation, Conversations
from ui.sidebar.sidebar import day_group
from ui.state import deletions
from ui.state.conversation_list import ConversationList
from ui.state.transfer import MAX_IMPORT_BYTES, file_name


async def test_conversations_are_listed_newest_first_under_their_days(reader: Reader, api: StandIn) -> None:
    now = datetime.now()
    since_midnight = now - now.replace(hour=0, minute=0, second=0, microsecond=0)
    api.add_conversation("old", age_s=30 * 86_400)
    api.add_conversation("last week", age_s=4 * 86_400)
    api.add_conversation("yesterday", age_s=since_midnight.total_seconds() + 3600)
    api.add_conversation("now")
    await reader.open("/")
    await until(lambda: reader.texts("entry-link") == ["now", "yesterday", "last week", "old"])
    assert reader.texts("group") == ["Today", "Yesterday", "Previous 7 days", "Older"]


async def test_more_conversations_are_shown_on_demand(reader: Reader, api: StandIn) -> None:
    for number in range(45):
        api.add_conversation(f"number {number}", age_s=number)
    await reader.open("/")
    await until(lambda: len(reader.texts("entry-link")) == 20)
    reader.find(content="Show more").click()
    await until(lambda: len(reader.texts("entry-link")) == 40)
    reader.find(content="Show more").click()
    await until(lambda: len(reader.texts("entry-link")) == 45)
    await reader.should_not_see(content="Show more")
    assert reader.texts("entry-link") == [f"number {number}" for number in range(45)]


async def test_a_deleted_conversation_can_be_had_back(reader: Reader, api: StandIn) -> None:
    conversation_id = api.add_conversation("Doomed")
    api.add_message(conversation_id, "user", "Remember me")
    await reader.open(f"/c/{conversation_id}")
    await until(lambda: reader.texts("bubble") == ["Remember me"] and reader.texts("entry-link") == ["Doomed"])
    await choose(reader, "delete", conversation_id)
    await reader.sees("“Doomed” was deleted.")
    await reader.sees("Hello!")  # the page of the deleted one is left
    assert not reader.texts("bubble") and not reader.texts("entry-link")
    reader.clicks("toast-action")
    await until(lambda: reader.texts("bubble") == ["Remember me"] and reader.texts("entry-link") == ["Doomed"])
    assert conversation_id in api.conversations and not reader.texts("toast-text")


async def test_a_deleted_conversation_is_gone_when_the_time_to_undo_is_over(
    page: Page, api: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deletions, "UNDO_S", 0.5)
    api.behaviour.hold_after = 1
    reader = page.new_reader()
    client = await reader.open("/")
    await ask(reader, "Soon gone")
    await until(lambda: api.seen.running == 1)
    (conversation_id,) = api.conversations
    await choose(reader, "delete", conversation_id)
    await until(lambda: api.seen.cancelled == 1)  # its running answer is stopped
    client.delete()  # a closed browser undoes nothing
    await until(lambda: not api.conversations)


async def test_a_conversation_gets_another_title(reader: Reader, api: StandIn) -> None:
    conversation_id = api.add_conversation("Rivres")
    await reader.open("/")
    await until(lambda: reader.texts("entry-link") == ["Rivres"])
    await choose(reader, "rename", conversation_id)
    await reader.sees_marked("save-title")
    reader.find(marker="title").clear().type("  Rivers of\nEurope ")
    reader.submits("renaming")
    await until(lambda: reader.texts("entry-link") == ["Rivers of Europe"])
    assert api.conversations[conversation_id]["title"] == "Rivers of Europe"


async def test_a_pinned_conversation_stays_on_top(reader: Reader, api: StandIn) -> None:
    old = api.add_conversation("Old", age_s=30 * 86_400)
    api.conversations[old]["metadata"] = {"mine": "kept"}
    api.add_conversation("New")
    await reader.open("/")
    await until(lambda: reader.texts("entry-link") == ["New", "Old"])
    await choose(reader, "pin", old)
    await until(lambda: reader.texts("entry-link") == ["Old", "New"])
    assert reader.texts("group") == ["Pinned", "Today"]
    assert api.conversations[old]["metadata"] == {"mine": "kept", "pinned": "true"}
    await choose(reader, "pin", old)
    await until(lambda: reader.texts("entry-link") == ["New", "Old"])


async def test_conversations_are_found_by_their_words_and_the_match_is_shown_as_text(
    reader: Reader, api: StandIn
) -> None:
    rhine = api.add_conversation("Rivers")
    api.add_message(rhine, "user", "How <b>long</b> is the Rhine?")
    api.add_conversation("Nothing of it")
    await reader.open("/")
    await until(lambda: len(reader.texts("entry-link")) == 2)
    reader.find(marker="search").type("rhine")
    await until(lambda: reader.texts("found-title") == ["Rivers"])
    assert reader.texts("found-match") == ["Rhine"] and not reader.texts("entry-link")
    await reader.sees("How <b>long</b> is the ")
    reader.clicks(f"found-{rhine}")
    await until(lambda: reader.texts("bubble") == ["How <b>long</b> is the Rhine?"])
    reader.find(marker="search").clear().type("volcano")
    await reader.sees("No results.")
    reader.find(marker="search").clear()
    await until(lambda: len(reader.texts("entry-link")) == 2)


async def test_a_conversation_is_exported_and_imported_with_all_its_branches(reader: Reader, api: StandIn) -> None:
    conversation_id = api.add_conversation("Rivers: long ones")
    first = api.add_message(conversation_id, "user", "The Rhine?")
    api.add_message(conversation_id, "assistant", "1,233 km.")
    api.add_message(conversation_id, "assistant", "Long.", parent=first)
    await reader.open("/")
    await until(lambda: len(reader.texts("entry-link")) == 1)
    await choose(reader, "markdown", conversation_id)
    markdown = (await reader.download.next()).text
    assert markdown == "# Rivers: long ones\n\n## You\n\nThe Rhine?\n\n## Assistant\n\nLong.\n"
    await choose(reader, "json", conversation_id)
    exported = await reader.download.next()
    assert file_name("Rivers: long ones/..", "json") == "Rivers-long-ones.json" and file_name("?", "md")[0] == "c"
    await brings(reader, exported.content)
    await until(lambda: len(api.conversations) == 2 and reader.texts("pager-place") == ["2/2"])
    copy = api.items[next(id_ for id_ in api.conversations if id_ != conversation_id)]
    assert [item["content"][0]["text"] for item in copy] == ["The Rhine?", "1,233 km.", "Long."]
    assert [item["parent_id"] for item in copy] == [None, copy[0]["id"], copy[0]["id"]]
    assert reader.texts("entry-link") == ["Rivers: long ones"] * 2


@pytest.mark.parametrize(
    "content",
    [
        b"{}",
        b"no json",
        b'{"format": "chatllm-conversation", "messages": [{"role": 1}]}',
        b'{"format": "chatllm-conversation", "messages": []}'.ljust(MAX_IMPORT_BYTES + 1),
    ],
    ids=["empty", "no JSON", "another shape", "too long"],
)
async def test_a_file_of_another_kind_is_refused(reader: Reader, api: StandIn, content: bytes) -> None:
    await reader.open("/")
    await brings(reader, content)
    await reader.sees("This file is not an exported conversation")
    assert not api.conversations


async def choose(reader: Reader, name: str, conversation_id: str) -> None:
    """Take an option of a conversation's menu."""
    reader.clicks(f"more-{conversation_id}")
    await reader.sees_marked(f"{name}-{conversation_id}")
    reader.clicks(f"{name}-{conversation_id}")


async def brings(reader: Reader, content: bytes) -> None:
    """Choose a file to import."""
    with reader:
        (upload,) = reader.find(marker="import-file", kind=ui.upload).elements
    await upload.handle_uploads([SmallFileUpload("a.json", "application/json", content)])


async def test_new_chat_leaves_the_conversation_and_begins_another(reader: Reader, api: StandIn) -> None:
    await reader.open("/")
    await ask(reader, "First")
    await until(lambda: api.seen.finished == 1)
    reader.clicks("new-chat")
    await reader.sees("Hello!")
    assert not reader.texts("bubble")
    reader.writes("Second")
    await until(lambda: api.seen.finished == 2)
    assert len(api.conversations) == 2 and reader.texts("entry-link") == ["Second", "First"]


async def test_a_conversation_begun_in_one_tab_appears_in_the_other(page: Page, api: StandIn) -> None:
    first, second = page.new_reader(), page.new_reader()
    await first.open("/")
    await second.open("/")
    await ask(first, "Hello from here")
    await until(lambda: second.texts("entry-link") == ["Hello from here"])
    assert not second.texts("bubble")


async def test_a_list_that_cannot_be_loaded_does_not_stop_the_page(reader: Reader, api: StandIn) -> None:
    api.behaviour.history_fails = True
    await reader.open("/")
    await reader.sees("Your conversations are currently unavailable")
    await reader.sees("Hello!")


@pytest.mark.parametrize(
    ("days", "group"), [(0, "Today"), (1, "Yesterday"), (2, "Previous 7 days"), (7, "Previous 7 days"), (8, "Older")]
)
def test_days_are_counted_by_the_calendar(days: int, group: str) -> None:
    now = datetime(2026, 3, 29, 0, 30).astimezone()
    assert day_group((now - timedelta(days=days)).timestamp(), now) == group


def page_of(*ids: str, has_more: bool = False) -> Conversations:
    return Conversations(data=[Conversation(id=id_, updated_at=-ord(id_)) for id_ in ids], has_more=has_more)


def listed(listing: ConversationList) -> str:
    return "".join(conversation.id for conversation in listing.conversations)


def test_what_happens_while_a_page_is_on_its_way_is_not_undone() -> None:
    listing = ConversationList()
    listing.take_newest(page_of("b", "c"))
    listing.ask_newest()
    listing.put(Conversation(id="n"))
    listing.remove("c")
    listing.take_newest(page_of("b", "c"))
    assert listed(listing) == "nb"


def test_the_newest_page_keeps_what_was_loaded_below_it() -> None:
    listing = ConversationList()
    listing.take_newest(page_of("b", "c", has_more=True))
    listing.take_next(page_of("d", "e", has_more=False))
    listing.ask_newest()
    listing.take_newest(page_of("a", "b", has_more=True))
    assert listed(listing) == "abcde" and not listing.has_more


def test_a_newest_page_that_no_longer_joins_begins_the_list_anew() -> None:
    listing = ConversationList()
    listing.take_newest(page_of("x", "y", has_more=False))
    listing.ask_newest()
    listing.take_newest(page_of("a", "b", has_more=True))
    assert listed(listing) == "ab" and listing.has_more


def test_activity_moves_a_conversation_to_the_top() -> None:
    listing = ConversationList()
    listing.take_newest(page_of("a", "b"))
    listing.put(Conversation(id="b", title="new"))
    assert listed(listing) == "ba" and listing.conversations[0].title == "new"


def test_what_others_ask_makes_no_list_longer_and_hides_nothing_that_is_pinned_or_open() -> None:
    listing = ConversationList()
    pinned = Conversation(id="conv_pinned", updated_at=1, metadata={"pinned": "true"})
    listing.take_newest(
        Conversations(data=[Conversation(id=f"conv_{at}", updated_at=at) for at in (5, 4, 3, 2)] + [pinned])
    )

    listing.put(Conversation(id="conv_6", updated_at=6))
    listing.keep(4, "conv_2")

    assert [conversation.id for conversation in listing.conversations] == ["conv_6", "conv_5", "conv_2", "conv_pinned"]
    assert listing.has_more
