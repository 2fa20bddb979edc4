"""Stories of shared conversations: who makes a link, and who follows one."""

import asyncio
import re
import time
from typing import Any

import httpx
import pytest
from nicegui import ui

from tests.ui.chat.test_chat import ask
from tests.ui.conftest import Page, Reader, page_for, until
from tests.ui.sidebar.test_sidebar import choose
from tests.ui.stand_in import KEY, StandIn
from ui.api import client
from ui.api.client import Api
from ui.api.errors import ApiError
from ui.api.schema import Share
from ui.markdown.pool import Renderer
from ui.settings import ApiKey, Settings
from ui.sharing import page as shared_page

HOSTILE = "<script>window.hacked = 1</script> **bold** [x](javascript:1) ![p](https://evil.example/p.png)"


def conversation(api: StandIn, question: str = "How long is the Rhine?", answer: str = "**1,233 km**") -> str:
    conversation_id = api.add_conversation("Rivers & lakes")
    api.add_message(conversation_id, "user", question)
    api.add_message(conversation_id, "assistant", answer)
    return conversation_id


async def shared_link(reader: Reader, conversation_id: str, valid: str = "") -> str:
    """Make a link by the menu, and return its address on the page."""
    await reader.sees_marked(f"more-{conversation_id}")
    await choose(reader, "share", conversation_id)
    await reader.sees_marked("share-make")
    if valid:
        reader.clicks(valid)
    reader.clicks("share-make")
    await reader.sees_marked("link")
    (field,) = reader.find(marker="link").elements
    assert field.props["value"].startswith("http://test/s/")
    return field.props["value"].removeprefix("http://test")


@pytest.fixture
async def stranger(page: Page) -> httpx.AsyncClient:
    """Return a browser without a key and a session."""
    return page.new_reader().http_client


async def test_a_link_shows_the_conversation_to_anyone_and_what_follows_to_nobody(
    reader: Reader, api: StandIn, stranger: httpx.AsyncClient
) -> None:
    mine = conversation(api)
    await reader.open(f"/c/{mine}")
    await until(lambda: reader.texts("bubble"))
    link = await shared_link(reader, mine)
    shown = await stranger.get(link)
    assert shown.status_code == 200
    assert '<h1 class="shared-title" dir="auto">Rivers &amp; lakes</h1>' in shown.text
    assert "How long is the Rhine?" in shown.text and "<strong>1,233 km</strong>" in shown.text
    assert time.strftime("%Y-%m-%d", time.gmtime()) in shown.text
    assert "textarea" not in shown.text and mine not in shown.text and KEY not in shown.text
    await ask(reader, "A secret question")
    await until(lambda: "I am a stand-in." in reader.answer())
    assert "secret" not in (await stranger.get(link)).text


async def test_a_shared_page_is_not_indexed_tells_no_referrer_and_runs_nothing(
    reader: Reader, api: StandIn, stranger: httpx.AsyncClient
) -> None:
    mine = conversation(api, HOSTILE, HOSTILE)
    await reader.open("/")
    shown = await stranger.get(await shared_link(reader, mine))
    assert "noindex" in shown.headers["x-robots-tag"] and '<meta name="robots" content="noindex">' in shown.text
    assert shown.headers["referrer-policy"] == "no-referrer" and shown.headers["cache-control"] == "no-store"
    policy = shown.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "'unsafe-eval'" not in policy and "form-action 'none'" in policy
    assert re.search(r"script-src 'self' 'sha256-[A-Za-z0-9+/=]+';", policy)
    assert "<script>window" not in shown.text and 'href="javascript' not in shown.text and "<img" not in shown.text
    assert shown.text.count("&lt;script&gt;") == 2 and "<strong>bold</strong>" in shown.text


async def test_a_revoked_and_an_unknown_link_are_the_same_calm_page(
    reader: Reader, api: StandIn, stranger: httpx.AsyncClient
) -> None:
    mine = conversation(api)
    await reader.open("/")
    link = await shared_link(reader, mine)
    await reader.sees_marked("revoke-share_0")
    reader.clicks("revoke-share_0")
    await until(lambda: not api.shares)
    await reader.should_not_see(marker="link")
    revoked = await stranger.get(link)
    assert revoked.status_code == 404 and "This conversation is no longer available" in revoked.text
    assert (await stranger.get("/s/..%2fready")).status_code == 404
    for path in ("/s/unknown", "/s/%3Cb%3E", f"/s/{'x' * 3000}"):
        assert (await stranger.get(path)).text == revoked.text


async def test_a_link_can_end_by_itself_and_the_list_says_when(reader: Reader, api: StandIn) -> None:
    mine = conversation(api)
    await reader.open("/")
    await shared_link(reader, mine, valid="valid-7")
    (made,) = api.shares.values()
    assert abs(made["share"]["expires_at"] - time.time() - 7 * 86_400) < 60
    await reader.sees("valid until")
    reader.clicks("valid-None")
    reader.clicks("share-make")
    await reader.sees("never expires")


async def test_the_branch_that_is_read_is_the_one_that_is_shared(reader: Reader, api: StandIn) -> None:
    mine = conversation(api)
    first = api.items[mine][0]["id"]
    api.add_message(mine, "assistant", "Another answer", parent=first)
    await reader.open(f"/c/{mine}")
    await until(lambda: reader.texts("pager-place") == ["2/2"])
    reader.clicks("previous-1")
    await until(lambda: reader.texts("pager-place") == ["1/2"])
    await shared_link(reader, mine)
    (made,) = api.shares.values()
    assert [message["text"] for message in made["shown"]["messages"]][-1] == "**1,233 km**"


async def test_a_store_that_is_away_is_told_in_the_card(reader: Reader, api: StandIn) -> None:
    mine = conversation(api)
    await reader.open("/")
    await shared_link(reader, mine)
    api.behaviour.history_fails = True
    reader.clicks("share-make")
    await reader.sees("Your conversations are currently unavailable")
    await reader.should_not_see(marker="link")


async def test_a_link_too_many_is_told_with_what_to_do(
    reader: Reader, api: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = conversation(api)
    await reader.open("/")
    await shared_link(reader, mine)

    async def too_many(*_: object) -> Share:
        raise ApiError("conflict", "A conversation may have 50 shares at most: revoke one of them.", status=409)

    monkeypatch.setattr(Api, "share", too_many)
    reader.clicks("share-make")
    await reader.sees("revoke one of them")


@pytest.mark.parametrize("wanted", ["share-make", "revoke-share_0"])
async def test_a_card_that_is_closed_meanwhile_is_changed_no_more(
    reader: Reader, api: StandIn, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, wanted: str
) -> None:
    mine = conversation(api)
    await reader.open("/")
    await shared_link(reader, mine)
    await reader.sees_marked("revoke-share_0")
    go_on, is_done = asyncio.Event(), asyncio.Event()
    call = Api._call

    async def slow(self: Api, method: str, path: str, **content: Any) -> httpx.Response:
        await go_on.wait()
        try:
            return await call(self, method, path, **content)
        finally:
            is_done.set()

    monkeypatch.setattr(Api, "_call", slow)
    reader.clicks(wanted)
    with reader:
        (card,) = reader.find(kind=ui.dialog).elements
    card.delete()
    go_on.set()
    await is_done.wait()
    await asyncio.sleep(0.1)
    assert not caplog.records


async def test_without_the_service_a_link_says_to_try_again() -> None:
    async with page_for(Settings("http://127.0.0.1:9", ApiKey(KEY))) as page:
        answer = await page.new_reader().http_client.get(f"/s/{'x' * 43}")
        assert answer.status_code == 503 and "The service cannot be reached" in answer.text


async def test_links_need_no_sign_in_where_pages_do(api: StandIn, api_url: str) -> None:
    mine = conversation(api)
    async with page_for(Settings(api_url, ApiKey(), must_sign_in=True)) as page:
        reader = page.new_reader()
        await reader.http_client.post("/sign-in", data={"key": KEY}, headers={"origin": "http://test"})
        await reader.open("/")
        link = await shared_link(reader, mine)
        assert (await page.new_reader().http_client.get(link)).status_code == 200
        assert (await page.new_reader().http_client.get(f"/c/{mine}")).status_code == 303


async def test_links_are_read_in_the_reader_s_language(
    reader: Reader, api: StandIn, stranger: httpx.AsyncClient
) -> None:
    mine = conversation(api)
    await reader.open("/")
    link = await shared_link(reader, mine)
    german = await stranger.get(link, headers={"accept-language": "de"})
    assert '<html lang="de"' in german.text and "geteilt wurde" in german.text
    assert "geteilt wurde" not in (await stranger.get(link)).text  # what is kept of a page is kept by language


async def test_what_a_link_leaves_out_is_told(reader: Reader, api: StandIn, stranger: httpx.AsyncClient) -> None:
    mine = conversation(api)
    await reader.open("/")
    link = await shared_link(reader, mine)
    (made,) = api.shares.values()
    made["shown"] |= {"is_cut": True, "title": None}
    made["shown"]["messages"][0] |= {"text": "", "left_out": 2}
    shown = (await stranger.get(link)).text
    assert "Attachments not shown: 2" in shown and "Earlier messages are not shown." in shown and "bubble" not in shown
    made["shown"]["messages"] = []
    assert "It contains no messages." in (await stranger.get(link)).text


async def test_one_address_cannot_ask_without_end(stranger: httpx.AsyncClient, api: StandIn) -> None:
    statuses = [(await stranger.get("/s/unknown")).status_code for _ in range(shared_page.BURST + 5)]
    assert statuses[: shared_page.BURST] == [404] * shared_page.BURST and statuses[-1] == 429


async def test_many_readers_of_links_do_not_make_the_service_seem_away(
    api: StandIn, api_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "LIMITS", httpx.Limits(max_connections=2))
    api.behaviour.share_delay_s = 6.0
    async with page_for(Settings(api_url, ApiKey(KEY))) as page:
        readiness, stranger = page.service.shared.readiness, page.new_reader().http_client
        await until(lambda: readiness.is_ready)
        reading = [asyncio.create_task(stranger.get(f"/s/{'x' * 43}")) for _ in range(4)]
        await asyncio.sleep(0.1)
        readiness.doubt()
        await asyncio.sleep(3.5)  # longer than an answer about that may take
        assert readiness.is_ready
        for each in reading:
            each.cancel()


async def test_a_huge_conversation_is_rendered_once_and_in_bounds(
    reader: Reader, api: StandIn, stranger: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_page, "MAX_RENDERED_CHARS", 30)
    rendered: list[str] = []
    render = Renderer.render

    async def noting(renderer: Renderer, text: str) -> str:
        rendered.append(text)
        return await render(renderer, text)

    monkeypatch.setattr(Renderer, "render", noting)
    mine = conversation(api, answer="**short** answer")
    api.add_message(mine, "user", "And now a long one")
    api.add_message(mine, "assistant", "**long** answer " * 10)
    await reader.open("/")
    link = await shared_link(reader, mine)
    first, second = await stranger.get(link), await stranger.get(link)
    assert first.text == second.text and rendered == ["**short** answer"]
    assert "<strong>short</strong>" in first.text and "**long** answer" in first.text
