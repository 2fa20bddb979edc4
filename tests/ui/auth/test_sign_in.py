"""Stories of visitors who sign in, with a username and password or with keys of their own."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
from nicegui import Client

from tests.ui.chat.test_chat import ask
from tests.ui.conftest import Page, Reader, page_for, until
from tests.ui.files.test_files import drops
from tests.ui.stand_in import FIREFOX, KEY, StandIn, User
from ui.api.client import Api
from ui.auth import sessions
from ui.auth.session_middleware import MAX_UPLOAD_BYTES
from ui.auth.sign_in import BURST
from ui.i18n import speaking
from ui.settings import ApiKey, Settings
from ui.sidebar.sessions_dialog import device_name

OTHER = "sk-of-bob"


@pytest.fixture
async def page(api: StandIn, api_url: str) -> AsyncIterator[Page]:
    """Run the page for visitors with two keys."""
    api.keys[OTHER] = "Bob"
    async with page_for(Settings(api_url, ApiKey(), must_sign_in=True)) as page:
        yield page


async def sign_in(reader: Reader, key: str = KEY, path: str = "/", origin: str = "http://test") -> httpx.Response:
    """Send the form, as a browser does that shows it."""
    fields = {"key": key, "next": path}
    return await reader.http_client.post("/sign-in", data=fields, headers={"origin": origin})


async def signed_in(page: Page, key: str = KEY, path: str = "/") -> Reader:
    """Return a reader with an open page."""
    reader = page.new_reader()
    assert (await sign_in(reader, key)).status_code == 303
    await reader.open(path)
    return reader


async def sends(reader: Reader, **fields: str) -> httpx.Response:
    """Send the form for a username and password."""
    headers = {"origin": "http://test", "user-agent": "Firefox"}
    return await reader.http_client.post("/sign-in", data={"username": "ann", "next": "/", **fields}, headers=headers)


def leavings(reader: Reader) -> list[str]:
    """Collect what the reader's page tells its browser on leaving, from now on."""
    said: list[str] = []
    client = reader.page
    run = client.run_javascript

    def noting(code: str, **options: float) -> object:
        if code.startswith("chatllm.leave("):
            said.append(code)
        return run(code, **options)

    client.run_javascript = noting  # type: ignore[method-assign,assignment]
    return said


async def test_the_way_to_any_page_is_the_sign_in_and_then_the_page(reader: Reader, api: StandIn) -> None:
    conversation_id = api.add_conversation("Mine")
    api.add_message(conversation_id, "user", "Still here?")
    asked = await reader.http_client.get(f"/c/{conversation_id}")
    assert asked.status_code == 303 and asked.headers["location"] == f"/sign-in?next=/c/{conversation_id}"
    form = await reader.http_client.get(asked.headers["location"])
    assert form.status_code == 200 and f'value="/c/{conversation_id}"' in form.text
    answer = await sign_in(reader, path=f"/c/{conversation_id}")
    assert answer.status_code == 303 and answer.headers["location"] == f"/c/{conversation_id}"
    await reader.open(answer.headers["location"])
    await until(lambda: reader.texts("bubble") == ["Still here?"] and reader.texts("entry-link") == ["Mine"])
    assert (await reader.http_client.get("/sign-in")).headers["location"] == "/"


async def test_the_cookie_is_the_browser_s_alone_and_not_the_key(reader: Reader) -> None:
    plain = (await sign_in(reader)).headers["set-cookie"]
    assert plain.startswith("chatllm=") and "Secure" not in plain
    for said in ("HttpOnly", "SameSite=lax", "Path=/", "Max-Age="):
        assert said in plain
    secure = (await sign_in(reader, origin="https://test")).headers["set-cookie"]
    assert secure.startswith("__Host-chatllm=") and "Secure" in secure and "Domain" not in secure
    assert KEY not in plain + secure
    assert KEY not in (await reader.http_client.get("/")).text


async def test_a_session_that_began_over_https_is_not_taken_from_the_plain_cookie(page: Page) -> None:
    reader = page.new_reader()
    token = (await sign_in(reader, origin="https://test")).headers["set-cookie"].split("=", 1)[1].split(";")[0]
    stranger = page.new_reader().http_client
    assert (await stranger.get("/", headers={"cookie": f"chatllm={token}"})).status_code == 303
    assert (await stranger.get("/", headers={"cookie": f"__Host-chatllm={token}"})).status_code == 200


async def test_over_https_a_session_that_began_without_it_is_nobody_s(page: Page) -> None:
    token = (await sign_in(page.new_reader())).cookies["chatllm"]
    stranger = page.new_reader().http_client
    assert (await stranger.get("http://test/", headers={"cookie": f"chatllm={token}"})).status_code == 200
    assert (await stranger.get("https://test/", headers={"cookie": f"chatllm={token}"})).status_code == 303


@pytest.mark.parametrize("other", ['g_state={"i_l":0}', "theme=a b", "list[0]=1", f"long={'x' * 5_000}", "bare", "é=1"])
async def test_the_cookies_of_other_pages_of_the_host_keep_nobody_out(page: Page, other: str) -> None:
    reader = page.new_reader()
    token = (await sign_in(reader)).cookies["chatllm"]
    header = f"{other}; chatllm={token}; {other}".encode()
    assert (await page.new_reader().http_client.get("/", headers=[(b"cookie", header)])).status_code == 200


async def test_every_sign_in_has_a_new_cookie_and_ends_the_session_before_it(reader: Reader) -> None:
    reader.http_client.cookies.set("chatllm", "planted")
    first = (await sign_in(reader)).cookies["chatllm"]
    reader.http_client.cookies.clear()
    again = await reader.http_client.post(
        "/sign-in", data={"key": KEY}, headers={"origin": "http://test", "cookie": f"chatllm={first}"}
    )
    assert len({"planted", first, again.cookies["chatllm"]}) == 3
    reader.http_client.cookies.clear()
    assert (await reader.http_client.get("/", headers={"cookie": f"chatllm={first}"})).status_code == 303


@pytest.mark.parametrize("key", ["sk-wrong", "", "with blanks inside", "ünïcode", "x" * 300])
async def test_a_wrong_key_is_told_clearly_and_opens_nothing(reader: Reader, key: str) -> None:
    answer = await sign_in(reader, key)
    assert answer.status_code == 401 and "The service does not recognize this key." in answer.text
    assert answer.text.count("aria-invalid") == 1, "the field of the form that was sent"
    assert "set-cookie" not in answer.headers and (not key or key not in answer.text)
    assert (await reader.http_client.get("/")).status_code == 303


async def test_a_disabled_key_is_told_in_the_service_s_words(reader: Reader, api: StandIn) -> None:
    api.refusal = "This API key is disabled: <b>ask</b>."
    assert "This API key is disabled: &lt;b&gt;ask&lt;/b&gt;." in (await sign_in(reader, "sk-disabled")).text


async def test_a_service_that_is_away_is_told_apart_from_a_wrong_key(api_url: str) -> None:
    async with page_for(Settings("http://127.0.0.1:9", ApiKey(), must_sign_in=True)) as page:
        reader = page.new_reader()
        for _ in range(BURST + 1):  # it is not the visitor's fault, and so does not count as an attempt
            answer = await sign_in(reader)
            assert answer.status_code == 503 and "The service cannot be reached" in answer.text


async def test_wrong_keys_from_one_address_are_bounded_and_right_ones_are_not(reader: Reader, api: StandIn) -> None:
    for _ in range(BURST + 2):
        assert (await sign_in(reader)).status_code == 303
    for _ in range(BURST):
        assert (await sign_in(reader, "sk-wrong")).status_code == 401
    refused = await sign_in(reader, "sk-wrong")
    assert refused.status_code == 429 and 0 < int(refused.headers["retry-after"]) <= 30
    assert "Too many failed attempts. Try again in" in refused.text
    other = httpx.ASGITransport(reader.http_client._transport.app, client=("10.1.2.3", 1))  # type: ignore[attr-defined]
    async with httpx.AsyncClient(transport=other, base_url="http://test") as elsewhere:
        answer = await elsewhere.post("/sign-in", data={"key": KEY}, headers={"origin": "http://test"})
        assert answer.status_code == 303


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "", "http://test.evil.example", "http://[test"])
async def test_a_form_of_another_site_signs_nobody_in(reader: Reader, origin: str) -> None:
    answer = await sign_in(reader, origin=origin)
    assert answer.status_code == 403 and "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    "path", ["//evil.example", "https://evil.example", "/\\evil.example", "/%2f/x", "javascript:1"]
)
async def test_the_way_on_never_leads_to_another_site(reader: Reader, path: str) -> None:
    assert (await sign_in(reader, path=path)).headers["location"] == "/"
    reader.http_client.cookies.clear()
    assert 'name="next" value="/"' in (await reader.http_client.get("/sign-in", params={"next": path})).text


async def test_without_a_session_nothing_but_the_form_and_the_assets_is_there(reader: Reader) -> None:
    http = reader.http_client
    for method, path in (("GET", "/"), ("GET", "/c/conv_1"), ("GET", "/nonsense"), ("GET", "/operations")):
        assert (await http.request(method, path)).status_code == 303
    assert (await http.post("/_nicegui/client/1/upload/2")).status_code == 403
    assert (await http.post("/")).status_code == 401
    policy = (await http.get("/sign-in")).headers["content-security-policy"]
    assert "default-src 'none'" in policy and "form-action 'self'" in policy and "unsafe-eval" not in policy


@pytest.mark.parametrize("path", ["/assets/nothing", "/_nicegui/1.0/nothing/x"])
async def test_for_what_is_not_there_a_stranger_gets_no_page_that_has_to_be_kept(page: Page, path: str) -> None:
    before = len(Client.instances)
    answer = await page.new_reader().http_client.get(path)
    assert answer.status_code == 404 and len(Client.instances) == before
    reader = await signed_in(page)
    assert "NiceGUI" in (await reader.http_client.get("/nothing/at/all")).text


async def test_two_keys_see_nothing_of_each_other(page: Page, api: StandIn) -> None:
    theirs = api.add_conversation("Bob's", owner=OTHER)
    api.behaviour.hold_after = 2
    ann, bob = await signed_in(page), await signed_in(page, OTHER)
    await until(lambda: bob.texts("entry-link") == ["Bob's"])
    await ask(ann, "A secret of Ann's")
    await until(lambda: api.seen.running == 1 and len(ann.texts("entry-link")) == 1)
    (mine,) = set(api.conversations) - {theirs}
    await asyncio.sleep(0.2)
    assert bob.texts("entry-link") == ["Bob's"]
    await bob.open(f"/c/{mine}")
    await bob.sees("This conversation does not exist")
    assert not bob.answer() and not bob.texts("bubble") and bob.texts("entry-link") == ["Bob's"]
    bob.find(marker="search").type("secret")
    await bob.sees("No results.")
    # Ann's other browser finds the running answer.
    again = await signed_in(page, path=f"/c/{mine}")
    await until(lambda: "Hello there" in again.answer())
    api.go_on.set()
    await until(lambda: "I am a stand-in." in again.answer() and "I am a stand-in." in ann.answer())
    assert len(api.seen.requests) == 1


async def test_what_one_deletes_is_not_missing_in_the_other_s_list(page: Page, api: StandIn) -> None:
    doomed = api.add_conversation("Ann's")
    api.add_conversation("Bob's", owner=OTHER)
    ann, bob = await signed_in(page), await signed_in(page, OTHER)
    await until(lambda: len(ann.texts("entry-link")) == len(bob.texts("entry-link")) == 1)
    ann.clicks(f"more-{doomed}")
    await ann.sees_marked(f"delete-{doomed}")
    ann.clicks(f"delete-{doomed}")
    await ann.sees("“Ann's” was deleted.")
    assert bob.texts("entry-link") == ["Bob's"] and not bob.texts("toast-text")


async def test_what_was_deleted_stays_deleted_when_its_reader_signs_out_at_once(page: Page, api: StandIn) -> None:
    doomed = api.add_conversation("Ann's")
    reader = await signed_in(page)
    await until(lambda: reader.texts("entry-link") == ["Ann's"])
    reader.clicks(f"more-{doomed}")
    await reader.sees_marked(f"delete-{doomed}")
    reader.clicks(f"delete-{doomed}")
    await reader.sees("“Ann's” was deleted.")
    await signs_out(reader)
    await until(lambda: doomed not in api.conversations and not api.tokens)


async def test_signing_out_ends_the_session_in_all_its_tabs_and_what_they_follow(page: Page, api: StandIn) -> None:
    api.behaviour.hold_after = 1
    first = await signed_in(page)
    cookie = first.http_client.cookies["chatllm"]
    second = page.new_reader()
    second.http_client.cookies.update(first.http_client.cookies)
    other_browser = await signed_in(page, OTHER)
    await second.open("/")
    left = leavings(second), leavings(other_browser)
    await ask(first, "Soon over")
    await until(lambda: api.seen.running == 1)
    await signs_out(first)
    await until(lambda: api.seen.disconnects == 1)
    assert left[0] == ['chatllm.leave("/sign-in?next=/&why=out", false, "")'] and not left[1]
    for path in ("/", "/c/conv_1"):
        assert (
            await page.new_reader().http_client.get(path, headers={"cookie": f"chatllm={cookie}"})
        ).status_code == 303
    assert (await other_browser.http_client.get("/")).status_code == 200


async def test_another_browser_of_the_same_key_stays_when_one_signs_out(page: Page, api: StandIn) -> None:
    api.behaviour.hold_after = 1
    first, second = await signed_in(page), await signed_in(page)
    await ask(second, "Goes on")
    await until(lambda: api.seen.running == 1)
    await signs_out(first)
    api.go_on.set()
    await until(lambda: "I am a stand-in." in second.answer())
    assert api.seen.disconnects == 0


async def test_a_key_revoked_in_mid_session_leads_to_the_sign_in_and_keeps_the_question(
    page: Page, api: StandIn
) -> None:
    conversation_id = api.add_conversation("Mine")
    reader = await signed_in(page, path=f"/c/{conversation_id}")
    await until(lambda: not reader.texts("status-title"))
    left = leavings(reader)
    del api.keys[KEY]
    reader.writes("Do not lose me")
    await until(lambda: left)
    assert left == [f'chatllm.leave("/sign-in?next=/c/{conversation_id}&why=refused", true, "Do not lose me")']
    assert (await reader.http_client.get("/")).status_code == 303
    assert "your access was revoked" in (await reader.http_client.get("/sign-in?why=refused")).text


@pytest.mark.parametrize("path", ["/", "/compare"])
async def test_of_a_question_with_images_its_words_are_the_draft(page: Page, api: StandIn, path: str) -> None:
    api.behaviour.sees = True
    reader = await signed_in(page, path=path)
    await until(lambda: not reader.texts("status-title"))
    await drops(reader, "dot.png", b"\x89PNG\r\n\x1a\n")
    await until(lambda: reader.texts("file-name") == ["dot.png"] and not reader.texts("file-size"))  # it has been read
    left = leavings(reader)
    del api.keys[KEY]
    reader.writes("What is it?")
    await until(lambda: left)
    assert left[0].endswith('true, "What is it?")')


async def test_a_page_that_was_left_alone_is_forgotten_and_its_browser_found_again(
    page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = await signed_in(page)
    left = leavings(reader)
    with monkeypatch.context() as patch:
        patch.setattr(sessions, "IDLE_S", 0.0)
        await reader.http_client.get("/sign-in")
    assert left == ['chatllm.leave("/sign-in?next=/&why=expired", true, "")']
    back = await reader.http_client.get("/sign-in?next=/&why=expired")
    assert (back.status_code, back.headers["location"]) == (303, "/")


@pytest.fixture
async def cookie(api_url: str) -> str:
    """Return the cookie of a browser that signed in at a process of the page that runs no more."""
    async with page_for(Settings(api_url, ApiKey(), must_sign_in=True)) as before:
        return (await sign_in(before.new_reader())).cookies["chatllm"]


async def test_a_restart_forgets_nobody(cookie: str, api_url: str, api: StandIn) -> None:
    async with page_for(Settings(api_url, ApiKey(), must_sign_in=True)) as page:
        again = page.new_reader()
        again.http_client.cookies.set("chatllm", cookie)
        await again.open("/")
        assert again.texts("account-name") == ["Reader"]
        await ask(again, "Hello")
        await until(lambda: "I am a stand-in." in again.answer())
        await signs_out(again)
        await until(lambda: cookie not in api.tokens)
        over = page.new_reader().http_client
        assert (await over.get("/", headers={"cookie": f"chatllm={cookie}"})).status_code == 303


async def test_while_the_service_is_away_nobody_is_told_to_sign_in_again(
    cookie: str, api_url: str, api: StandIn
) -> None:
    async with page_for(Settings(api_url, ApiKey(), must_sign_in=True)) as page:
        http, headers = page.new_reader().http_client, {"cookie": f"chatllm={cookie}"}
        api.behaviour.is_away = True
        answer = await http.get("/", headers=headers)
        assert answer.status_code == 503 and "You are still signed in." in answer.text
        assert (await http.get("/sign-in", headers=headers)).status_code == 200
        api.behaviour.is_away = False
        assert (await http.get("/", headers=headers)).status_code == 200


async def test_a_cookie_that_nobody_has_is_asked_about_once(page: Page, api: StandIn) -> None:
    http = page.new_reader().http_client
    for cookie in ("st-chatllm-" + "x" * 43, "planted", "st-chatllm-short", ""):
        for _ in range(3):
            assert (await http.get("/", headers={"cookie": f"chatllm={cookie}"})).status_code == 303
    assert api.seen.strangers == 1


async def test_sessions_are_bounded(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "MAX_SESSIONS", 1)
    await sign_in(page.new_reader())
    refused = await sign_in(page.new_reader(), OTHER)
    assert refused.status_code == 503 and "Too many users are signed in" in refused.text


async def test_nobody_signs_in_so_often_that_there_is_no_room_for_others(
    page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "MAX_SESSIONS", 3)
    monkeypatch.setattr(sessions, "MAX_SESSIONS_OF_ONE", 2)
    for _ in range(4):
        assert (await sign_in(page.new_reader())).status_code == 303
    assert (await sign_in(page.new_reader(), OTHER)).status_code == 303


async def test_a_user_signs_in_with_a_username_and_password(reader: Reader, api: StandIn) -> None:
    api.users["ann"] = User("correct horse battery")
    wrong = await sends(reader, password="wrong horse battery")
    assert wrong.status_code == 401 and "The username or the password is wrong." in wrong.text
    assert wrong.text.count("aria-invalid") == 2, "the fields of the form that was sent"
    assert 'value="ann"' in wrong.text and "wrong horse" not in wrong.text
    answer = await sends(reader, password="correct horse battery")
    assert answer.status_code == 303
    assert api.devices == ["Firefox"]
    await reader.open("/")
    assert reader.texts("account-name") == ["Ann Example"]
    await ask(reader, "Hello")
    await until(lambda: "I am a stand-in." in reader.answer())


async def test_a_password_of_the_administrator_s_must_be_changed(reader: Reader, api: StandIn) -> None:
    api.users["ann"] = User("given by the boss", must_change=True)
    asked = await sends(reader, password="given by the boss")
    assert asked.status_code == 200 and "Choose a new password" in asked.text
    assert "given by the boss" not in asked.text and "set-cookie" not in asked.headers
    short = await sends(reader, password="given by the boss", new_password="short")
    assert short.status_code == 400 and "10 to 256 characters" in short.text
    mistyped = await sends(reader, password="given by the bass", new_password="correct horse battery")
    assert mistyped.status_code == 401 and "Choose a new password" in mistyped.text
    assert (await sends(reader, password="given by the boss", new_password="correct horse battery")).status_code == 303
    assert (await reader.http_client.get("/")).status_code == 200
    assert api.users["ann"].password == "correct horse battery"


async def test_a_username_is_text_to_the_form_that_shows_it_again(reader: Reader) -> None:
    answer = await sends(reader, username='"><script>alert(1)</script>', password="x")
    assert "<script>alert" not in answer.text and "&lt;script&gt;" in answer.text


async def test_a_page_s_uploads_are_its_session_s_alone(page: Page) -> None:
    ann, bob = await signed_in(page), await signed_in(page, OTHER)
    (upload,) = ann.find(marker="import-file").elements
    url = upload.props["url"]
    assert (await bob.http_client.post(url)).status_code == 403
    assert (await ann.http_client.post(url)).status_code == 200


async def test_an_upload_that_is_too_long_or_does_not_say_how_long_it_is_is_not_read(page: Page) -> None:
    ann = await signed_in(page)
    (upload,) = ann.find(marker="files").elements

    async def endless() -> AsyncIterator[bytes]:
        raise AssertionError("nobody asks for it")
        yield b""

    for length in (str(MAX_UPLOAD_BYTES + 1), "9" * 5_000, "-1", "²"):
        headers = [(b"content-length", length.encode("latin-1"))]
        answer = await ann.http_client.post(upload.props["url"], content=endless(), headers=headers)
        assert answer.status_code == 413
    assert (await ann.http_client.post(upload.props["url"], content=endless())).status_code == 413


async def test_the_menu_tells_the_key_s_limits_and_what_is_left_of_them(page: Page, api: StandIn) -> None:
    limits = {"requests_per_minute": 60, "tokens_per_month": 100_000, "concurrent_requests": 2}
    month = {"limit": 100_000, "remaining": 9_000, "reset_s": 5 * 86_400}
    minute = {"limit": 60, "remaining": 58, "reset_s": 2.0}
    usage = {"requests": 12, "total_tokens": 91_000, "cached_tokens": 1_500}
    remaining = {"requests_per_minute": minute, "tokens_per_minute": None, "tokens_per_month": month}
    api.me = {"admin": True, "limits": limits, "remaining": remaining, "usage": usage, "expires_at": 1_900_000_000}
    reader = await signed_in(page)
    assert reader.texts("account-name") == ["Reader"]
    reader.clicks("account")
    await reader.sees("91,000 tokens, 12 requests")
    for said in (
        "58 of 60 left",
        "9,000 of 100,000 left",
        "Full again in 5 days",
        "Administrator",
        "1,500 tokens",
    ):
        await reader.sees(said)
    assert reader.texts("account-title") == ["Reader"]
    assert {"2030-03-17", "1,500 tokens"} <= set(reader.texts("fact-value"))
    assert "Tokens per minute" not in reader.texts("fact-name")


async def test_a_key_that_cannot_be_asked_about_can_still_sign_out(page: Page, api: StandIn) -> None:
    reader = await signed_in(page)
    api.behaviour.history_fails = True
    reader.clicks("account")
    await reader.sees("Your conversations are currently unavailable")
    await reader.sees_marked("sign-out")


async def test_who_does_not_sign_in_has_a_menu_too_and_no_way_out_of_it(api_url: str, api: StandIn) -> None:
    async with page_for(Settings(api_url, ApiKey(KEY))) as page:
        reader = page.new_reader()
        await reader.open("/")
        assert reader.texts("account-name") == ["Your account"]
        reader.clicks("account")
        await until(lambda: reader.texts("account-name") == ["Reader"])
        await reader.sees("No limits apply to you.")
        await reader.should_not_see(marker="sign-out")


async def signs_out(reader: Reader) -> None:
    """Sign out by the menu."""
    reader.clicks("account")
    await reader.sees_marked("sign-out")
    reader.clicks("sign-out")


@pytest.mark.parametrize("is_later", [False, True])
async def test_one_s_other_sessions_are_listed_and_ended(
    page: Page, api: StandIn, monkeypatch: pytest.MonkeyPatch, is_later: bool
) -> None:
    first, second = await signed_in(page), await signed_in(page)
    if is_later:
        first, second = second, first
    first.clicks("account")
    await first.sees_marked("sessions-open")
    first.clicks("sessions-open")
    await first.sees("The browsers in which you are signed in.")
    await until(lambda: len(first.texts("session-device")) == 2)
    assert all(text.startswith("Firefox on Linux · last used ") for text in first.texts("session-device"))
    await first.sees("This browser")
    (token,) = set(api.tokens) - {first.http_client.cookies["chatllm"]}
    left = leavings(second)
    monkeypatch.setattr(sessions, "VERIFY_S", 0.0)
    first.clicks(f"end-session_{token[-8:]}")
    await until(lambda: list(api.tokens) == [first.http_client.cookies["chatllm"]])
    await until(lambda: len(first.texts("session-device")) == 1)
    assert (await second.http_client.get("/")).status_code == 303, "not even one page more"
    assert left == ['chatllm.leave("/sign-in?next=/&why=refused", true, "")']
    assert (await first.http_client.get("/")).status_code == 200


async def test_who_signed_out_is_not_found_again_while_the_service_still_knows_the_session(
    page: Page, api: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = await signed_in(page)
    end, gate = Api.end_session, asyncio.Event()

    async def ends_later(self: Api, token: str) -> None:
        await gate.wait()
        await end(self, token)

    monkeypatch.setattr(Api, "end_session", ends_later)
    left = leavings(reader)
    await signs_out(reader)
    await until(lambda: left)
    shown = await reader.http_client.get("/sign-in?next=/&why=out")
    gate.set()
    assert shown.status_code == 200, "the form, and not the way back into the page"
    await until(lambda: not api.tokens)


async def test_sessions_that_ended_at_the_service_hurt_none_that_begins(page: Page, api: StandIn) -> None:
    api.add_conversation("Mine")
    await sign_in(page.new_reader())
    api.tokens.clear()
    again = await signed_in(page)
    await until(lambda: again.texts("entry-link") == ["Mine"])
    assert not api.seen.strangers


async def test_a_user_changes_the_password(reader: Reader, api: StandIn) -> None:
    api.users["ann"] = User("correct horse battery")
    await sends(reader, password="correct horse battery")
    await reader.open("/")
    reader.clicks("account")
    await reader.sees_marked("change-password")
    form = await reader.http_client.get("/password")
    assert 'name="username" value="ann"' in form.text and "Your other sessions will end." in form.text
    assert (await sends(reader, password="wrong", new_password="battery horse correct")).status_code == 401
    changed = await sends(reader, password="correct horse battery", new_password="battery horse correct")
    assert changed.status_code == 303 and api.users["ann"].password == "battery horse correct"
    assert (await reader.http_client.get("/")).status_code == 200


async def test_who_has_no_password_changes_none(reader: Reader) -> None:
    assert (await reader.http_client.get("/password")).headers["location"] == "/sign-in?next=/password"
    await sign_in(reader)
    assert (await reader.http_client.get("/password")).headers["location"] == "/"


@pytest.mark.parametrize(
    ("user_agent", "name"),
    [
        (FIREFOX, "Firefox on Linux"),
        ("Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 Chrome/141.0 Safari/537.36 Edg/141.0", "Edge on Windows"),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Version/18.0 Safari/604.1", "Safari on iPhone"),
        ("Mozilla/5.0 (Linux; Android 15) Chrome/141.0 Mobile Safari/537.36", "Chrome on Android"),
        ("curl/8.1", "curl/8.1"),
        ("", ""),
    ],
)
def test_what_a_browser_is_called(user_agent: str, name: str) -> None:
    with speaking("en"):
        assert device_name(user_agent) == name
