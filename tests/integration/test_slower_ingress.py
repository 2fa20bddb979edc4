"""2 ms of blocking in the ingress, and what the benches make of it: their gates fail, and without it they do not."""

import sys
import time
from statistics import mean

import pytest

from deployments.config import ScriptedModel
from loadtests import bench
from loadtests.paced import Client, Tally
from loadtests.relay_report import OneToken, RelayResults
from loadtests.streams import Target, quantile_ms
from tests.integration.serving import served
from tests.model_server import TOKEN_S, Model, serving
from tests.slowed import BLOCKED_S, Blocking

AT_ONCE = ScriptedModel(id="at-once", kind="scripted", tokens=4)
PACED = ScriptedModel(id="paced", kind="scripted", tokens=1000, token_ms=TOKEN_S * 1e3)
REQUESTS = 300
STREAMS, TOKENS = 16, 40


class BlockingFrames:
    """Blocks for each piece of an answer that is sent."""

    def __init__(self, app):
        self._app = app

    async def __call__(self, scope, receive, send):
        async def send_late(message):
            if message["type"] == "http.response.body":
                time.sleep(BLOCKED_S)  # noqa: ASYNC251 - the fault
            await send(message)

        await self._app(scope, receive, send_late)


async def test_the_relays_gate_sees_2_ms_in_each_request(tmp_path, database_url, valkey_url):
    """The two and a third, like the first, take turns request by request, so that a busy machine is busy for all."""
    async with (
        served(database_url, valkey_url, AT_ONCE) as before,
        served(database_url, valkey_url, AT_ONCE, around=Blocking) as slowed,
        served(database_url, valkey_url, AT_ONCE) as again,
    ):
        services = {"before": before, "slowed": slowed, "again": again}
        clients = {name: Client(Target(name, one.url, "", one.key)) for name, one in services.items()}
        tallies = {name: Tally() for name in services}
        for _ in range(REQUESTS):
            for name, client in clients.items():
                await client.ask(tallies[name], "at-once", 1, 1)
    outcomes = {name: _outcome(tally) for name, tally in tallies.items()}
    baseline = outcomes["before"].write(tmp_path)
    assert outcomes["again"].exit_status(baseline) == 0
    assert outcomes["slowed"].exit_status(baseline) == 1


def _outcome(tally):
    assert (tally.whole, tally.failures) == (REQUESTS, {})
    p50, p99 = quantile_ms(tally.first_s, 0.5), quantile_ms(tally.first_s, 0.99)
    return RelayResults(0.0, one_token=OneToken(REQUESTS, {}, p50, p99, 1 / mean(tally.first_s), {}, 0.0, [1.0, 1.0]))


@pytest.mark.parametrize(("around", "status"), [(lambda app: app, 0), (BlockingFrames, 1)])
async def test_the_benchs_threshold_sees_2_ms_in_each_frame(
    tmp_path, monkeypatch, database_url, valkey_url, around, status
):
    """Beside a server of the same pace: 1,600 frames a second fit into one event loop, but not 2 ms for each."""
    monkeypatch.setattr(bench, "SHORT_REQUESTS", 16)
    async with serving(Model()) as bare, served(database_url, valkey_url, PACED, around=around) as service:
        monkeypatch.setenv("CHATLLM_API_KEY", service.key)
        asked = ("--url", service.url, "--bare-url", bare, "--model", "paced", "--streams", str(STREAMS), "--quick")
        more = ("--max-tokens", str(TOKENS), "--threshold", "0.5", "--results", str(tmp_path))
        monkeypatch.setattr(sys, "argv", ["bench", *asked, *more])
        assert await bench.bench(bench._options()) == status
