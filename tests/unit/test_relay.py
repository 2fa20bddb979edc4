"""The measurement of all but the model: its client, what it counts to whom, and what it calls worse."""

import asyncio
import json
import multiprocessing
import subprocess
import sys

import pytest

from loadtests.counting import StreamLoad, counters
from loadtests.paced import Client, Tally
from loadtests.relay import document, step_ms
from loadtests.relay_report import Idle, OneToken, RelayResults, Width, regressions
from loadtests.sides import MARK, Processes, free_port, new_mark
from loadtests.streams import Target
from tests.model_server import Model, serving

OPENING_AND_END = 3  # the role, the usage and [DONE]


def client(url):
    return Client(Target("it", url, "", "secret"))


@pytest.mark.parametrize("framing", ["", "until closed"])
async def test_every_event_is_counted_once_however_the_network_cuts_them(framing):
    model, tally = Model(framing), Tally()
    async with serving(model) as url:
        streams = await client(url).open(tally, "guide", 20, 3)
        await asyncio.gather(*(stream.ended for stream in streams))
    assert (tally.opened, tally.whole, tally.failures) == (3, 3, {})
    assert tally.events == 3 * (20 + OPENING_AND_END)
    assert len(tally.first_s) == 3 and len(tally.gaps_s) == tally.pieces - 3
    assert len({request["messages"][0]["content"] for request in model.requests}) == 3
    assert set(model.keys) == {"secret"}


@pytest.mark.parametrize(
    ("fault", "kind"), [("busy", "status 503"), ("cut off", "cut off"), ("error event", "cut off")]
)
async def test_what_does_not_end_well_is_counted(fault, kind):
    tally = Tally()
    async with serving(Model(fault)) as url:
        await client(url).ask(tally, "guide", 2, 5)
        streams = await client(url).open(tally, "guide", 5, 1)
        await streams[0].ended
    assert tally.failures[kind] >= 1
    assert tally.whole == 6 - tally.failures[kind]


async def test_to_leave_is_no_failure():
    tally = Tally()
    async with serving(Model()) as url:
        streams = await client(url).open(tally, "guide", 1000, 2)
        assert not any(stream.ended.done() for stream in streams)
        for stream in streams:
            stream.leave()
        await asyncio.gather(*(stream.ended for stream in streams))
    assert (tally.opened, tally.whole, tally.failures) == (2, 0, {})


async def test_no_more_connections_than_were_asked_for():
    model, tally = Model(), Tally()
    async with serving(model) as url:
        assert await client(url).ask(tally, "guide", 4, 20) > 0
    assert (tally.whole, model.most_at_once) == (20, 4)


async def test_several_clients_count_the_same_window_each_for_itself():
    async with serving(Model()) as url:
        asked = StreamLoad(Target("it", url, "", "secret"), "guide", 10_000, 3)
        async with counters([asked, asked]) as opened:
            counted = await opened.count(0.5)
    assert [one.failures for one in counted] == [{}, {}]
    for one in counted:
        assert 3 < one.events <= 10_000 and len(one.gaps_s) == one.pieces > 3
        assert 0 < one.spent_s < 5


async def test_a_client_that_cannot_connect_is_an_error_and_leaves_no_process():
    with pytest.raises(EOFError):
        async with counters([StreamLoad(Target("it", f"http://127.0.0.1:{free_port()}", ""), "guide", 10, 1)]):
            pytest.fail("it has no server")
    assert multiprocessing.active_children() == []


def test_processes_that_wrote_over_their_mark_are_found_by_their_parents():
    mark = new_mark()
    child = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'while 1: pass'], env={})"
    with subprocess.Popen([sys.executable, "-c", child], env={MARK: mark}):
        try:
            before, rounds = Processes(mark).cpu_s(), 0
            while Processes(mark).cpu_s()["rest"] < before["rest"] + 0.3:
                rounds += 1
                assert rounds < 200
        finally:
            for process in Processes(mark)._all():
                process.kill()


def test_what_a_process_took_counts_when_it_has_ended():
    mark = new_mark()
    processes = Processes(mark)
    with subprocess.Popen([sys.executable, "-c", "while True: pass"], env={MARK: mark}) as child:
        try:
            while (taken_s := processes.cpu_s()["rest"]) < 0.2:
                pass
        finally:
            child.kill()
    assert processes._all() == []
    assert processes.cpu_s()["rest"] == processes.front_end_cpu_s() == taken_s


def test_a_step_is_as_long_as_an_engines_with_so_many_streams():
    assert [step_ms(streams) for streams in (1, 10, 11, 100, 101, 1000)] == [5, 5, 20, 20, 100, 100]


def test_what_is_deployed_is_valid():
    from deployments.config import Settings

    application = document("deployments.app:build_app", 4)["applications"][0]
    settings = Settings.model_validate(application["args"])
    names = {"Ingress", "CacheLookup", *(model.deployment for model in settings.models)}
    assert {deployment["name"] for deployment in application["deployments"]} == names
    assert application["deployments"][0]["num_replicas"] == 4


def width(streams=64, tokens_per_s=3200.0, ingress_us=30.0, failures=None):
    cpu = {"ingress": ingress_us, "rest": 10.0}
    return Width(streams, 20, failures or {}, tokens_per_s, tokens_per_s, 20.0, 22.0, cpu, cpu, 5.0)


def outcome(first_ms=5.0, per_s=400.0, held=100, **of_width):
    one = OneToken(1000, {}, first_ms, 9.0, per_s, {"ingress": 900.0}, 100.0, [100.0, 103.0, 104.0])
    idle = Idle(100, {}, held, 20.0, (100.0, 102.0, 101.0), 5.0)
    return RelayResults(0.1, {"ingress": 0.02}, one, [width(**of_width)], {2: width(400)}, idle)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, ""),
        ({"first_ms": 5.9, "per_s": 270.0, "ingress_us": 35.0, "tokens_per_s": 2600.0}, ""),
        ({"first_ms": 7.0}, "first token"),
        ({"per_s": 250.0}, "answers of one token"),
        ({"ingress_us": 45.0}, "CPU per token"),
        ({"tokens_per_s": 2500.0}, "tokens/s"),
        ({"held": 99}, "not held"),
        ({"failures": {"cut off": 1}}, "cut off"),
    ],
)
def test_what_is_worse_than_the_baseline_leaves_with_1(tmp_path, capsys, change, said):
    before = outcome().write(tmp_path)
    now = outcome(**change)
    assert now.exit_status(before) == int(bool(said))
    assert said in capsys.readouterr().out + now.table()


def test_without_a_baseline_only_failures_count():
    assert outcome(first_ms=70.0).exit_status(None) == 0
    assert outcome(held=99).exit_status(None) == 1


def test_a_result_holds_everything_and_compares_with_itself(tmp_path):
    document = json.loads(outcome().write(tmp_path).read_text())
    assert document["one_token"]["ingress_mb"] == [100.0, 103.0, 104.0]
    assert {"commit", "machine", "versions", "load_average_before", "at", "full", "idle_burn"} <= document.keys()
    assert list(regressions(document, document)) == []


def test_the_table_tells_targets():
    rows = {name: (value, most) for name, value, most in outcome().rows()}
    assert rows["CPU of all processes at 64 streams, us/token"] == (40.0, 60)
    assert rows["kB for each of 100 silent streams"] == (20.0, 40)
    assert rows["the same, growth"] == (4.0, 5)
    assert "met" in outcome().table() and "missed" in outcome(ingress_us=90.0).table()
