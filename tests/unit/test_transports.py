"""The comparison of transports measures what it says, with the real processes."""

import pytest

from tests import measured_transports as transports
from tests.measured_transports import measure, own, zeromq


@pytest.mark.parametrize("opened", [own, zeromq])
@pytest.mark.parametrize("is_encrypted", [False, True])
async def test_tokens_and_look_ups_cross_and_are_counted(
    opened: object, is_encrypted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transports, "LOOKUPS", 20)
    async with opened(is_encrypted) as line:  # type: ignore[operator]
        found = await measure(line, 0.3)
    assert found.relayed_per_s > 1_000 and found.cpu_us_64 > 0 and found.cpu_us_1000 > 0
    assert 0 < found.lookup_ms_p50 <= found.lookup_ms_p99
