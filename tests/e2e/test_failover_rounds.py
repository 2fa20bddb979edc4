"""50 streams over two scripted replicas: one is killed, both are in turn, one is frozen; every token arrives once."""

import pytest

from tests.failover_rounds import HOWS, SCRIPTED, measure, scripted
from tests.launched import launched

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

LONGEST_PAUSE_S = 30.0
"""A frozen replica is found within 15 s; the rest is for a busy machine."""


async def test_every_stream_goes_on_at_any_token() -> None:
    with launched(scripted()) as service:
        pauses = await measure(service, SCRIPTED, len(HOWS), seed=11)
    assert set(pauses) == set(HOWS)
    assert max(pauses.values()) < LONGEST_PAUSE_S
