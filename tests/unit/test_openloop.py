"""The open-loop load test: its plan, its arithmetic, and the whole against a server whose times are known."""

import asyncio
import itertools
import json
import random
import signal
import statistics
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest

from loadtests.bare_vllm import NotStarted
from loadtests.openloop import service as of_service
from loadtests.openloop.arrivals import arrivals
from loadtests.openloop.charts import Chart, Line, figure
from loadtests.openloop.figures import Goal, step_of
from loadtests.openloop.options import options
from loadtests.openloop.page import page
from loadtests.openloop.search import Search
from loadtests.openloop.sent import Sent
from loadtests.openloop.watch import samples
from loadtests.openloop.workload import SHAREGPT, Length, Lengths, Mix, Workload
from loadtests.streams import Sample
from tests.model_server import TOKEN_S, Model, serving

ROOT = Path(__file__).parents[2]
FIVE = Lengths("20/5", Length(20, 0), Length(5, 0))


@pytest.mark.parametrize(("pattern", "least", "most"), [("constant", 0, 0.01), ("poisson", 0.9, 1.1), ("bursts", 3, 5)])
def test_arrivals_have_their_rate_and_their_variance(pattern, least, most):
    due = list(arrivals(pattern, 50, 200, seed=3))
    gaps = [later - earlier for earlier, later in itertools.pairwise(due)]
    assert due == sorted(due) and due[-1] < 200
    assert len(due) == pytest.approx(10_000, rel=0.06)
    assert least <= statistics.variance(gaps) / statistics.mean(gaps) ** 2 <= most
    assert due == list(arrivals(pattern, 50, 200, seed=3))


def test_lengths_are_those_of_sharegpt_on_average():
    chance = random.Random(1)
    prompts, answers = ([of.draw(chance) for _ in range(20_000)] for of in (SHAREGPT.prompt, SHAREGPT.answer))
    assert statistics.mean(prompts) == pytest.approx(161, rel=0.1)
    assert statistics.mean(answers) == pytest.approx(338, rel=0.1)
    assert statistics.median(prompts) < 100 and max(prompts) == 1024


def test_prompts_have_their_tokens_and_are_never_the_same():
    workload = Workload(Mix(("one", "two"), FIVE), 1, "run", tokens_per_word=2.0)
    asked = [workload.next_request(workload.session()) for _ in range(20)]
    assert {len(one.body["messages"][0]["content"].split()) for one in asked} == {1 + 10}
    assert len({one.body["messages"][0]["content"] for one in asked}) == 20
    assert [one.model for one in asked[:4]] == ["two", "one", "two", "one"]
    assert {one.max_tokens for one in asked} == {5}
    again = Workload(Mix(("one", "two"), FIVE), 1, "run", tokens_per_word=2.0)
    assert [again.next_request(again.session()).body for _ in range(20)] == [one.body for one in asked]


def test_prefixes_are_shared_and_turns_send_what_was_said():
    workload = Workload(Mix(("one",), FIVE, prefixes=2, prefix_tokens=50, turns=2), 1, "run", 1.0)
    sessions = [workload.session() for _ in range(20)]
    assert len({session.messages[0]["content"] for session in sessions}) == 2
    first = workload.next_request(sessions[0])
    sessions[0].messages.append({"role": "assistant", "content": "answer"})
    second = workload.next_request(sessions[0])
    assert [message["role"] for message in second.body["messages"]] == ["system", "user", "assistant", "user"]
    assert second.body["messages"][:2] == first.body["messages"]
    stored = workload.session()
    stored.conversation = "conv_1"
    assert workload.next_request(stored).body["conversation"] == "conv_1"


def test_shares_of_plain_and_of_repeated_requests_are_kept():
    workload = Workload(Mix(("one",), FIVE, plain=0.25, repeated=0.5), 1, "run", 1.0)
    asked = [workload.next_request(workload.session()) for _ in range(2000)]
    assert sum(not one.is_stream for one in asked) == pytest.approx(500, rel=0.15)
    assert len({one.body["messages"][-1]["content"] for one in asked}) == pytest.approx(1000 + 10, rel=0.1)


@pytest.mark.parametrize("capacity", [0.4, 3.3, 37.0, 700.0])
def test_the_search_ends_close_to_the_highest_rate_that_meets_the_goal(capacity):
    search = Search(1.0, 20)
    while (rate := search.next()) is not None:
        search.tell(rate, meets_goal=rate <= capacity, is_saturated=rate > 1.4 * capacity)
    assert capacity / 1.2 < search.best <= capacity
    assert max(search.tried) > 1.4 * capacity, "it shows saturation"


def test_the_search_is_bounded_and_given_rates_are_taken_as_they_are():
    search = Search(1.0, 5)
    while (rate := search.next()) is not None:
        search.tell(rate, meets_goal=False, is_saturated=True)
    assert len(search.tried) == 5 and search.best == 0
    fixed = Search(1.0, 12, (4, 2, 2))
    while (rate := fixed.next()) is not None:
        fixed.tell(rate, meets_goal=True, is_saturated=False)
    assert (fixed.tried, fixed.best) == ([4, 2, 2], 4)


def sent(due, ttft_s=0.1, tokens=11, tpot_s=0.01, failure=""):
    sample = Sample(ttft_s, 0.0, [tpot_s] * (tokens - 1), tokens, 20, failure)
    sample.total_s = ttft_s + tpot_s * (tokens - 1)
    return Sent(due, "one", True, tokens, 1, due, sample)


def counted(every, rate=10.0, window=(0.0, 10.0)):
    return step_of(every, rate, window, (0.0, window[1]), Goal(0.5, 0.05), 0.1, was_stopped=False)


def test_percentiles_are_numpys():
    chance = random.Random(1)
    every = [sent(n / 10, chance.random(), tpot_s=chance.random() / 10) for n in range(100)]
    step = counted(every)
    for name, values in (("ttft_ms", [s.sample.ttft_s for s in every]), ("tpot_ms", [s.tpot_s for s in every])):
        for q in (50, 95, 99):
            assert getattr(step, name)[f"p{q}"] == pytest.approx(np.percentile(values, q) * 1e3, abs=0.01)
        assert getattr(step, name)["mean"] == pytest.approx(np.mean(values) * 1e3, abs=0.01)


def test_a_steady_step_is_counted_as_it_was():
    step = counted([sent(n / 10) for n in range(-20, 120)])
    assert (step.requests, step.failures, step.goodput_per_s, step.meets_goal) == (100, {}, 10.0, True)
    assert step.delivered_per_s == pytest.approx(10, abs=0.1)
    assert step.output_tokens_per_s == pytest.approx(110, rel=0.02)
    assert step.in_flight_mean == pytest.approx(10 * 0.2, rel=0.02)
    assert step.tpot_ms["p50"] == pytest.approx(10) and step.e2e_ms["p50"] == pytest.approx(200)


def test_what_is_late_or_failed_is_no_goodput():
    every = [sent(n / 10, ttft_s=0.6 if n % 2 else 0.1, failure="status 500" if n % 4 == 0 else "") for n in range(100)]
    step = counted(every)
    assert step.goodput_per_s == 2.5 and step.failures == {"status 500": 25}
    assert not step.meets_goal and not step.is_saturated


def test_a_queue_that_grows_is_saturation_and_long_answers_in_a_short_window_are_not():
    grows = [sent(n / 10, ttft_s=0.1 + 0.5 * n / 10) for n in range(100)]
    assert counted(grows).is_saturated
    long = [sent(n / 10, tokens=501) for n in range(100)]
    step = counted(long)
    assert step.delivered_per_s < 6 and not step.is_saturated and step.meets_goal
    refused = [sent(n / 10, failure="status 503" if n % 2 else "") for n in range(100)]
    assert counted(refused).is_saturated


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("--rates 0", "argument --rates: '0' is not between 0.001 and 10000"),
        ("--rates 2,x", "argument --rates: 'x' is not a number of requests per second"),
        ("--lengths 512", "argument --lengths: '512' is neither 'sharegpt' nor PROMPT/ANSWER"),
        ("--lengths 0/5", "argument --lengths"),
        ("--settle 40", "argument --settle: 40 s leave nothing of a step of 30 s: raise --step"),
        ("--step nan", "argument --step: 'nan' is not a number of seconds"),
        ("--step -1", "argument --step: '-1' is negative"),
        ("--prefixes 3", "argument --prefixes: goes together with --prefix-tokens"),
        ("--stored", "argument --stored: only sessions of several turns are stored: add e.g. --turns 4"),
        ("--turns 0", "argument --turns: must be at least 1"),
        ("--plain 1.5", "argument --plain: '1.5' is not a share between 0 and 1"),
        ("--url localhost:8000", "argument --url: 'localhost:8000' is not an address such as http"),
        ("--web 70000", "argument --web: '70000' is no port"),
        ("--name a/b", "argument --name: 'a/b' is not a valid name"),
        ("--against missing.json", "argument --against: 'missing.json' cannot be read"),
        ("--against pyproject.toml", "argument --against: 'pyproject.toml' is no report of `make loadtest`"),
        ("--arrivals sometimes", "argument --arrivals: invalid choice: 'sometimes'"),
    ],
)
def test_wrong_options_are_refused_with_the_place_and_the_remedy(arguments, sentence, capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    with pytest.raises(SystemExit) as ended:
        options(arguments.split())
    assert ended.value.code == 2 and sentence in capsys.readouterr().err


def test_metrics_are_read_in_prometheus_format():
    text = '# HELP x\nray_vllm_num_requests_waiting{model_name="a\\"b",node="1"} 3.0\nother{a="b"} 1\n'
    text += 'ray_chatllm_scaling_decisions_total{model="one",cause="KV cache"} 2.0 1700000000\n'
    assert [(name, value) for name, _, value in samples(text)] == [
        ("ray_vllm_num_requests_waiting", 3.0),
        ("ray_chatllm_scaling_decisions_total", 2.0),
    ]


def test_a_chart_has_a_place_for_every_point_and_none_without_points():
    assert figure(Chart("T", "ms", "rate", [Line("a", [], "c0")])) == ""
    drawn = figure(Chart("<T>", "ms", "rate", [Line("a", [(1, 5), (2, 0.5), (4, 900)], "c0")], is_log=True, goal=100))
    assert drawn.count("<circle") == 3 and "&lt;T&gt;" in drawn and 'class="goal"' in drawn


class Service(Model):
    """A model server that lists its models, answers plainly as well, and can be made to stall."""

    def __init__(self, fault="", delay_s=0.0):
        super().__init__(fault, delay_s)
        self.goes_on = asyncio.Event()
        self.goes_on.set()
        self.asked = 0

    async def serve(self, reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        if head.startswith(b"GET /v1/models"):
            self._whole(writer, {"data": [{"id": "guide"}]})
            return
        await super().serve(_again(head, reader), writer)

    async def answer(self, writer, body):
        if body.get("stream"):
            self.asked += 1
            await self.goes_on.wait()
            await super().answer(writer, body)
            return
        words = len(body["messages"][-1]["content"].split())
        usage = {"prompt_tokens": 2 * words, "completion_tokens": body["max_tokens"]}
        self._whole(writer, {"choices": [{"message": {"content": "x"}}], "usage": usage})

    def _whole(self, writer, answer):
        body = json.dumps(answer).encode()
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        writer.close()


def _again(head, rest):
    """Return a reader that yields the head once more."""

    class Reader:
        readexactly = rest.readexactly

        async def readuntil(self, _):
            return head

    return Reader()


@asynccontextmanager
async def loadtest(url, folder, *arguments):
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "loadtests.openloop", "--url", url, "--results", str(folder), *map(str, arguments)),
        env={"PATH": "/usr/bin:/bin", "CHATLLM_API_KEY": "secret", "CHATLLM_STATE": str(folder / "none")},
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def report(process, folder, status):
    told, progress = (part.decode() for part in await asyncio.wait_for(process.communicate(), 90))
    assert process.returncode == status, told + progress
    (path,) = folder.glob("*.json")
    assert str(path) in told and "secret" not in told + progress + path.read_text()
    return json.loads(path.read_text()), told, progress


async def test_the_report_has_the_times_of_a_server_that_is_known(tmp_path):
    service = Service()
    async with serving(service) as url:
        asked = ("--rates", "10,5", "--step", 4, "--settle", 1, "--lengths", "20/9", "--arrivals", "constant")
        async with loadtest(url, tmp_path, *asked, "--save-requests", tmp_path / "asked.jsonl") as process:
            document, told, progress = await report(process, tmp_path, 0)
    assert (document["highest_rate_per_s"], document["models"]) == (10, ["guide"])
    assert document["load"]["tokens_per_word"] == 2
    fast, slow = document["steps"]
    assert (fast["requests"], slow["requests"], fast["failures"]) == (30, 15, {})
    assert service.asked == 39 + 19 and set(service.keys) == {"secret"}
    for step in (fast, slow):
        assert TOKEN_S * 1e3 <= step["tpot_ms"]["p50"] <= 25 and step["e2e_ms"]["p50"] > 2 * TOKEN_S * 1e3
        assert TOKEN_S * 1e3 <= step["ttft_ms"]["p50"] < 300
        assert step["output_tokens_per_s"] == pytest.approx(9 * step["rate"], rel=0.2)
    assert "10 requests/s for 4 s" in progress and "meets the goal" in told
    assert len((tmp_path / "asked.jsonl").read_text().splitlines()) == 58
    html = next(tmp_path.glob("*.html")).read_text()
    assert "<svg" in html and "http" not in html.replace(url, "").replace("http://www.w3.org", "")
    assert "before" in page(document, document) and "+0.0 %" in page(document, document)


async def test_latency_counts_from_when_a_request_was_due_whatever_the_server_does(tmp_path):
    service = Service()
    async with serving(service) as url:
        asked = (
            "--rates",
            20,
            "--step",
            4,
            "--settle",
            0,
            "--lengths",
            "20/2",
            "--arrivals",
            "constant",
            "--goal-ttft",
            9,
        )
        async with loadtest(url, tmp_path, *asked) as process:
            async with asyncio.timeout(60):
                while service.asked < 20:
                    await asyncio.sleep(0.01)
                service.goes_on.clear()
                await asyncio.sleep(1.5)
                assert service.at_once > 20, "it goes on sending"
                service.goes_on.set()
            document, *_ = await report(process, tmp_path, 0)
    (step,) = document["steps"]
    assert step["requests"] == 79
    late = [ttft for _, _, ttft, *_ in document["samples"] if ttft > 0.3]
    assert len(late) >= 20, "a third of the requests were due while the server stalled"
    assert step["ttft_ms"]["max"] > 1400


@pytest.mark.parametrize(
    ("fault", "kind"), [("busy", "status 503"), ("cut off", "cut off"), ("error event", "error event")]
)
async def test_failures_are_named_and_meet_no_goal(tmp_path, fault, kind):
    asked = ("--rates", 10, "--step", 2, "--settle", 0, "--lengths", "20/5")
    async with serving(Service(fault)) as url, loadtest(url, tmp_path, *asked) as process:
        document, *_ = await report(process, tmp_path, 1)
    (failures,) = (step["failures"] for step in document["steps"])
    assert sum(failures.values()) == document["steps"][0]["requests"] > 5
    # On a busy machine a connection that is kept alive may be closed just when it is used again.
    assert max(failures, key=failures.__getitem__) == kind or (fault == "cut off" and len(failures) == 1)
    assert document["highest_rate_per_s"] is None


async def test_answers_that_nobody_waits_for_any_more_are_unfinished_and_not_cut_off(tmp_path):
    asked = ("--rates", 10, "--step", 2, "--settle", 0, "--drain", 2, "--lengths", "20/200")
    async with serving(Service(delay_s=0.5)) as url, loadtest(url, tmp_path, *asked) as process:
        document, *_ = await report(process, tmp_path, 1)
    (step,) = document["steps"]
    assert step["failures"] == {"unfinished": step["requests"]} and step["requests"] > 5


async def test_what_is_stopped_still_reports(tmp_path):
    service = Service()
    async with (
        serving(service) as url,
        loadtest(url, tmp_path, "--rates", "20,40", "--step", 300, "--settle", 0, "--lengths", "20/2") as process,
    ):
        async with asyncio.timeout(60):
            while service.asked < 20:
                await asyncio.sleep(0.02)
        process.send_signal(signal.SIGINT)
        document, told, _ = await report(process, tmp_path, 130)
    (step,) = document["steps"]
    assert document["was_stopped"] and step["was_stopped"] and step["requests"] >= 15
    assert step["window_s"] < 60 and "was stopped" in told


async def test_a_service_that_is_not_there_or_has_no_such_model_is_told_in_a_sentence(tmp_path):
    async with loadtest("http://127.0.0.1:1", tmp_path) as process:
        _, told = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 1 and b"does not answer" in told and b"make serve" in told
    async with serving(Service()) as url, loadtest(url, tmp_path, "--model", "guide,other") as process:
        _, told = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 1 and b"--model:" in told and b"has no 'other': it has guide" in told


@pytest.fixture
def state(tmp_path, monkeypatch):
    """This machine's service, with its key and Ray's token."""
    monkeypatch.setenv("CHATLLM_STATE", str(tmp_path))
    for name in ("CHATLLM_API_KEY", "RAY_AUTH_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "api.key").write_text("sk-own\n")
    (tmp_path / "ray.token").write_text("own-token\n")
    (tmp_path / "instance.json").write_text(json.dumps({"port": 8000, "dashboard_port": 8265}))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_a_service_of_this_machine_gets_its_key_and_is_watched(host, state):
    url = f"http://{host}:8000"
    assert of_service.api_key(url) == "sk-own"
    assert of_service._dashboard(url) == "http://127.0.0.1:8265"
    assert of_service._dashboard(f"http://{host}:18000") == ""
    assert of_service.ray_token(url, "http://127.0.0.1:8265") == "own-token"


@pytest.mark.parametrize("host", ["gpu", "127.0.0.1.example.com", "localhost@gpu", "10.0.0.1"])
def test_no_other_machine_gets_this_ones_key_or_token(host, state, monkeypatch):
    url = f"http://{host}:8000"
    with pytest.raises(NotStarted, match="set CHATLLM_API_KEY"):
        of_service.api_key(url)
    assert of_service._dashboard(url) == ""
    assert of_service.ray_token(url, "http://127.0.0.1:8265") == ""
    assert of_service.ray_token("http://127.0.0.1:8000", f"http://{host}:8265") == ""
    monkeypatch.setenv("CHATLLM_API_KEY", "sk-given")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "given-token")
    assert of_service.api_key(url) == "sk-given"
    assert of_service.ray_token(url, f"http://{host}:8265") == "given-token"
