"""Several browsers at once on the one process of the page: the program of `loadtests.page_sessions`, made small."""

import statistics

import pytest

from loadtests.page_sessions import served, text, wave

pytestmark = pytest.mark.slow
SESSIONS = 10


async def test_the_page_answers_clicks_while_all_sessions_stream() -> None:
    with served(text(120), 0.05) as (address, process):
        await wave(address, process, 2)
        before = process.memory_info().rss
        clicks, at_most = await wave(address, process, SESSIONS)
    assert len(clicks) >= 2 * SESSIONS
    assert statistics.median(clicks) < 0.3
    assert (at_most - before) / SESSIONS < 6_000_000
