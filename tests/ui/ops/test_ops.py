"""/ops, as whoever runs the service uses it."""

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest

from tests.ui.auth.test_sign_in import leavings, signed_in
from tests.ui.conftest import Page, Reader, page_for, until
from tests.ui.operated import ADMIN_KEY, Operated, batch, error, key, model, operated
from tests.ui.stand_in import KEY, StandIn
from ui.ops import page as ops_page
from ui.ops.dashboard import Dashboard
from ui.settings import ApiKey, Settings


@pytest.fixture
def api() -> StandIn:
    """Return a service for one test: the administrator's routes are added to it."""
    return StandIn()


@pytest.fixture
def admin(api: StandIn) -> Operated:
    return operated(api)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refresh often."""
    monkeypatch.setattr(ops_page, "REFRESH_S", 0.1)


async def let_in(reader: Reader, secret: str = ADMIN_KEY) -> None:
    await reader.open("/ops")
    give(reader, secret)


def give(reader: Reader, secret: str) -> None:
    reader.find(marker="admin-key").type(secret)
    reader.submits("access")


async def opened(reader: Reader) -> None:
    await let_in(reader)
    await reader.sees_marked("chart-requests")
    await until(lambda: "–" not in reader.texts("tile-value"))


def looks(reader: Reader, zone: str = "UTC", *, is_hidden: bool = False) -> None:
    """Tell what a browser tells: its time zone, and whether the page is in sight."""
    assert reader.client is not None
    for listener in reader.client.layout._event_listeners.values():
        if listener.type == "chatllm_looks":
            reader.client.layout._handle_event({"listener_id": listener.id, "args": [zone, is_hidden]})


def rows(reader: Reader, marker: str) -> list[list[str]]:
    """Return the texts of a table's body, row by row."""
    with reader:
        (box,) = reader.find(marker=marker).elements
    body = next((each for each in box.descendants() if each.tag == "tbody"), None)
    if body is None:
        return []
    found = [[_text(cell) for cell in row.default_slot.children] for row in body.default_slot.children]
    return [[text for text in row if text] for row in found]


def _text(cell: object) -> str:
    parts = [getattr(each, "text", "") for each in [cell, *cell.descendants()]]  # type: ignore[attr-defined]
    return " ".join(part for part in parts if part)


async def test_an_administrator_sees_what_the_service_does(reader: Reader, admin: Operated) -> None:
    await opened(reader)
    for chart in ("requests", "tokens", "first", "whole", "cache", "flight", "queue", "replicas"):
        await reader.sees_marked(f"chart-{chart}")
    assert all("<svg" in picture for picture in reader.texts("picture"))
    assert reader.texts("tile-value")[4] == "5 / 41", "those in front of the engines wait, too"
    assert "39 in the queue, the oldest for 12.4 s" in reader.texts("reason")
    assert rows(reader, "models")[0][:5] == ["guide", "Ready 39 in the queue, the oldest for 12.4 s", "2", "5", "41"]
    assert rows(reader, "models")[1][:2] == ["coder", "Loading · 73 seconds"]
    assert [row[1] for row in rows(reader, "replicas")] == ["Up", "Unreachable for 6 minutes"]
    await until(lambda: rows(reader, "keys"))
    assert [row[0] for row in rows(reader, "keys")] == ["ops …a1b2 Administrator", "robot …a1b2", "local …a1b2"]
    await until(lambda: [row[1:5] for row in rows(reader, "errors")] == [["503", "overloaded", "guide", "robot"]] * 3)


async def test_an_administrator_sees_why_the_number_of_replicas_changed(reader: Reader, admin: Operated) -> None:
    await opened(reader)
    assert rows(reader, "decisions") == []
    await reader.sees("The number of replicas has not changed.")
    reason = "KV cache 93 %, 41 waiting, 180 of 512 running"
    admin.decisions = [{"at": 1_800_000_000.0, "model": "guide", "before": 2, "after": 3, "reason": reason}]
    await until(lambda: rows(reader, "decisions"))
    assert rows(reader, "decisions")[0][1:] == ["guide", "2 → 3", reason]


async def test_an_administrator_sees_what_starts_took_and_on_which_nodes(reader: Reader, admin: Operated) -> None:
    await opened(reader)
    await reader.sees("No model starts recorded.")
    phases = {"scheduling": 2.0, "starting": 8.0, "reading_weights": 12.5, "compiling": 0.0, "joining": 0.4}
    admin.starts = [{"at": 1_800_000_000.0, "model": "guide", "took_s": 22.9, "phases": phases}]
    lost = {"id": "b" * 56, "name": "w1", "address": "10.0.0.2", "is_alive": False, "lost_because": "heartbeat"}
    head = {"id": "a" * 56, "name": "head", "address": "10.0.0.1", "is_head": True, "cpus": 8.0, "memory_bytes": 2**34}
    admin.nodes = [head, lost]
    await until(lambda: rows(reader, "nodes"))
    (started,) = rows(reader, "starts")
    assert started[:3] == ["2027-01-15 08:00", "guide", "22.9 s"]
    assert started[3] == "Scheduling 2 s · Starting 8 s · Loading weights 12.5 s · Joining 400 ms"
    assert rows(reader, "nodes")[0] == ["head", "Head", "10.0.0.1", "8", "0", "16 GiB"]
    assert rows(reader, "nodes")[1][:3] == ["w1", "Gone heartbeat", "10.0.0.2"]


async def test_it_goes_on_by_itself(reader: Reader, admin: Operated) -> None:
    await opened(reader)
    asked = admin.asked
    admin.errors.insert(0, error(1, 500, "internal_error"))
    admin.models[1] = model("coder")
    await until(lambda: "internal_error" in rows(reader, "errors")[0])
    await until(lambda: rows(reader, "models")[1][1] == "Ready")
    assert admin.asked > asked


async def test_nothing_is_asked_for_while_nobody_looks(reader: Reader, admin: Operated) -> None:
    await opened(reader)
    looks(reader, is_hidden=True)
    await reader.sees("Paused")
    await asyncio.sleep(0.3)
    asked = admin.asked
    await asyncio.sleep(0.5)
    assert admin.asked == asked
    looks(reader)
    await until(lambda: admin.asked > asked)
    await reader.sees_not("Paused")


async def test_an_hour_can_be_seen_too(reader: Reader, admin: Operated) -> None:
    await opened(reader)
    await reader.sees("15 min ago")
    reader.clicks("range-60")
    await reader.sees("60 min ago")
    assert admin.windows[-1] == 3600
    reader.clicks("range-15")
    await reader.sees("15 min ago")


async def test_times_are_in_the_reader_s_zone(reader: Reader, admin: Operated) -> None:
    admin.errors = [error(0) | {"at": 1_800_000_000.0}]
    await opened(reader)
    await until(lambda: rows(reader, "errors")[0][0] == "08:00:00")
    looks(reader, "Asia/Tokyo")
    await until(lambda: rows(reader, "errors")[0][0] == "17:00:00")


async def test_each_chart_is_a_table_too(reader: Reader, admin: Operated) -> None:
    await opened(reader)
    with reader:
        (details,) = [
            each for each in reader.find(marker="chart-first").elements.pop().descendants() if each.tag == "details"
        ]
    assert not [each for each in details.descendants() if each.tag == "td"]
    for listener in details._event_listeners.values():
        details._handle_event({"listener_id": listener.id, "args": True})
    await until(lambda: len([each for each in details.descendants() if each.tag == "tr"]) >= 60)
    heads = [_text(each) for each in details.descendants() if each.tag == "th"][:3]
    assert heads == ["Time", "Median (p50)", "95th percentile (p95)"]


async def test_a_chart_says_what_it_shows(reader: Reader, admin: Operated) -> None:
    await opened(reader)
    with reader:
        (figure,) = reader.find(marker="chart-cache").elements
    (plot,) = [each for each in figure.descendants() if each.props.get("role") == "img"]
    assert re.fullmatch(r"Cache: Hits \d+%, Joined \d+%, Misses \d+%", plot.props["aria-label"])


async def test_another_s_key_is_told_calmly(reader: Reader, admin: Operated) -> None:
    await let_in(reader, KEY)
    await reader.sees("For administrators only")
    assert admin.asked == 0
    reader.clicks("other-key")
    await reader.sees_marked("admin-key")
    give(reader, "sk-nonsense")
    await reader.sees("This key is unknown or no longer valid.")
    give(reader, ADMIN_KEY)
    await reader.sees_marked("chart-requests")


async def test_the_key_is_forgotten_on_demand(reader: Reader, admin: Operated) -> None:
    await opened(reader)
    reader.clicks("leave")
    await reader.sees_marked("admin-key")
    await asyncio.sleep(0.3)
    asked = admin.asked
    await asyncio.sleep(0.4)
    assert admin.asked == asked


async def test_each_page_asks_for_itself_and_keeps_nothing(page: Page, admin: Operated) -> None:
    first, second = page.new_reader(), page.new_reader()
    await opened(first)
    await second.open("/ops")
    await second.sees_marked("admin-key")
    assert ADMIN_KEY not in (await second.http_client.get("/ops")).text


async def test_a_service_that_goes_away_leaves_what_was_seen(reader: Reader, admin: Operated) -> None:
    await opened(reader)
    admin.is_away = True
    await reader.sees("The service is currently unavailable")
    await reader.sees("These are the last metrics received.")
    assert rows(reader, "models")[0][0] == "guide"
    admin.is_away = False
    await reader.sees_not("The service is currently unavailable")


async def test_a_service_that_is_away_from_the_start_is_said_beside_the_key(reader: Reader, admin: Operated) -> None:
    admin.is_away = True
    await let_in(reader)
    await reader.sees("The service is currently unavailable. Please try again in a moment.")
    admin.is_away = False
    give(reader, ADMIN_KEY)
    await reader.sees_marked("chart-requests")


async def test_a_key_that_is_revoked_meanwhile_is_asked_for_again(
    reader: Reader, admin: Operated, monkeypatch: pytest.MonkeyPatch
) -> None:
    await opened(reader)
    monkeypatch.setattr("tests.ui.operated.ADMIN_KEY", "sk-another")
    await reader.sees_marked("admin-key")


async def test_with_another_key_after_a_revoked_one_it_goes_on_by_itself(
    reader: Reader, admin: Operated, monkeypatch: pytest.MonkeyPatch
) -> None:
    await opened(reader)
    with monkeypatch.context() as revoked:
        revoked.setattr("tests.ui.operated.ADMIN_KEY", "sk-another")
        await reader.sees_marked("admin-key")
    give(reader, ADMIN_KEY)
    await reader.sees_marked("chart-requests")
    asked = admin.asked
    await until(lambda: admin.asked > asked + 2)


async def test_a_fresh_service_says_that_nothing_has_happened(reader: Reader, admin: Operated) -> None:
    admin.traffic, admin.errors, admin.keys = 0.0, [], [key("ops", admin=True)]
    await let_in(reader)
    await reader.sees("No requests in this period")
    await reader.sees("No data in this period")
    await reader.sees("No errors in this period.")
    assert reader.texts("tile-value")[:4] == ["0", "0", "– / –", "–"]
    admin.traffic = 1.0
    await reader.sees_not("No requests in this period")


async def test_figures_of_one_replica_alone_are_said_to_be_so(reader: Reader, admin: Operated) -> None:
    admin.partial_because = "redis_timeout"
    await opened(reader)
    await reader.sees("The store shared by the replicas is not responding (redis_timeout).")
    admin.partial_because = "unreadable"
    await reader.sees("Some metrics are missing")
    admin.partial_because = None
    await reader.sees_not("Some metrics are missing")


async def test_the_keys_that_used_most_come_first_and_the_rest_is_counted(reader: Reader, admin: Operated) -> None:
    admin.keys = [key(f"robot {number}") for number in range(230)]  # three pages of the API
    await opened(reader)
    await until(lambda: len(rows(reader, "keys")) == 50)
    assert rows(reader, "keys")[0][0] == "robot 229 …a1b2"
    await reader.sees("180 more keys with less usage.")


async def test_a_german_administrator_reads_german(reader: Reader, admin: Operated) -> None:
    reader.http_client.headers["accept-language"] = "de"
    await opened(reader)
    await reader.sees("Anfragen pro Sekunde")
    await until(lambda: rows(reader, "keys"))
    assert rows(reader, "keys")[0][3] == "27.900"


@pytest.fixture
async def shared_page(api: StandIn, api_url: str, admin: Operated) -> AsyncIterator[Page]:
    """Run the page for visitors who sign in."""
    api.keys[ADMIN_KEY] = "Ops"
    async with page_for(Settings(api_url, ApiKey(), must_sign_in=True)) as page:
        yield page


async def test_whoever_has_signed_in_is_not_asked_for_a_key(shared_page: Page) -> None:
    stranger = shared_page.new_reader()
    asked = await stranger.http_client.get("/ops")
    assert (asked.status_code, asked.headers["location"]) == (303, "/sign-in?next=/ops")
    other = await signed_in(shared_page, KEY, "/ops")
    await other.sees("For administrators only")
    await other.should_not_see(marker="other-key")
    reader = await signed_in(shared_page, ADMIN_KEY, "/ops")
    await reader.sees_marked("chart-requests")
    await until(lambda: rows(reader, "keys"))


async def test_signing_out_leads_away(shared_page: Page, admin: Operated) -> None:
    reader = await signed_in(shared_page, ADMIN_KEY, "/ops")
    await until(lambda: rows(reader, "keys"))
    said = leavings(reader)
    reader.clicks("leave")
    assert said == ['chatllm.leave("/sign-in?next=/ops&why=out", false, "")']
    asked = admin.asked
    await asyncio.sleep(0.4)
    assert admin.asked == asked and not reader.texts("chart")


@pytest.fixture
def dashboard_url() -> Iterator[str]:
    api = StandIn()
    with api.served() as url:
        yield url


async def test_ray_s_dashboard_is_linked_where_it_leads_somewhere(
    api_url: str, admin: Operated, dashboard_url: str
) -> None:
    settings = Settings(api_url, ApiKey(KEY), dashboard_url=dashboard_url)
    async with page_for(settings) as page:
        reader = page.new_reader()
        reader.http_client.base_url = httpx.URL("http://localhost")
        await opened(reader)
        await reader.sees("Ray dashboard")
        with reader:
            (link,) = reader.find(marker="dashboard").elements
        assert link.props["href"] == dashboard_url
    assert await Dashboard(dashboard_url).link("chat.example.org") == ""  # the reader's own machine is another
    assert await Dashboard("").link("localhost") == ""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert await Dashboard(f"http://127.0.0.1:{port}").link("localhost") == ""


async def test_why_a_model_does_not_load_stands_beside_it_and_how_far_another_is(
    reader: Reader, admin: Operated
) -> None:
    reason = "The disk is full: free some space."
    admin.models = [
        model("guide", "failed") | {"reason": reason},
        model("coder", "loading") | {"phase": "reading_weights", "percent": 40},
    ]
    await let_in(reader)
    await reader.sees(reason)
    await reader.sees("Loading · Loading weights · 40% · 73 seconds")


async def test_open_batches_show_whose_they_are_how_far_and_when_they_end(reader: Reader, admin: Operated) -> None:
    await opened(reader)
    await until(lambda: "No open batches." in reader.texts("section-note"))
    late = batch("late", done=10, total=5_000, ends_s=10 * 86_400)
    failing = batch("ann", done=1_200, total=3_000, ends_s=300) | {"key_name": None, "model": None}
    failing["request_counts"]["failed"] = 300
    admin.batches = [failing, late, batch("new", "validating"), batch("gone", "cancelling", done=5, total=9)]

    await until(lambda: len(rows(reader, "batches")) == 4)

    one, two, three, four = rows(reader, "batches")
    assert one[:2] == ["key_ann", "1,500 of 3,000 · 50% 300 failed"]
    assert one[2].endswith("about 5 minutes left") and one[3:] == ["In progress", "several", "10 minutes"]
    assert two[1] == "10 of 5,000 · 0%" and two[2].endswith("expires before it finishes")
    assert three[1:5] == ["–", "–", "Being checked", "guide"]
    assert four[1:4] == ["5 of 9 · 55%", "–", "Being cancelled"]

    admin.batches = None  # the database is away: everything else goes on
    await until(lambda: "Batches cannot be read right now." in reader.texts("section-note"))
    assert reader.texts("tile-value")[4] == "5 / 41"
