"""The load client against a small server that behaves, and misbehaves, as a model server may."""

import asyncio
import json
import sys
import time
from xml.etree import ElementTree

import pytest
import yaml

from loadtests import bench, quality, report, streams
from loadtests.bare_vllm import EngineOf, NotStarted
from loadtests.report import Side
from loadtests.streams import Figures, Target, measure, median, quantile_ms, stream
from tests.model_server import TOKEN_S, Model, serving


@pytest.mark.parametrize("framing", ["", "until closed"])
async def test_a_stream_is_timed(framing):
    async with serving(Model(framing)) as url:
        sample = await stream(Target("it", url, "guide"), "Hello", 10)
    assert (sample.failure, sample.tokens, len(sample.gaps_s)) == ("", 10, 9)
    assert sample.ttft_s is not None and sample.ttft_s >= TOKEN_S
    assert min(sample.gaps_s) > TOKEN_S / 2
    assert sample.total_s >= sample.ttft_s + sum(sample.gaps_s)


@pytest.mark.parametrize("fault", ["cut off", "error event", "no usage", "busy"])
async def test_what_goes_wrong_is_named(fault):
    async with serving(Model(fault)) as url:
        figures = await measure(Target("it", url, "guide"), 2, 3, 5)
    assert figures.failures == {"status 503" if fault == "busy" else fault: 3} or (
        fault == "cut off" and figures.failures == {"IncompleteReadError": 3}
    )
    assert figures.tokens_per_s == 0


async def test_nobody_there_is_a_failure():
    sample = await stream(Target("it", "http://127.0.0.1:1", "guide"), "Hello", 5)
    assert sample.failure == "ConnectionRefusedError"


async def test_a_server_that_hangs_is_a_failure(monkeypatch):
    monkeypatch.setattr(streams, "REQUEST_TIMEOUT_S", 0.05)
    async with serving(Model()) as url:
        assert (await stream(Target("it", url, "guide"), "Hello", 50)).failure == "timeout"


async def test_a_round_keeps_its_width_and_repeats_no_prompt():
    model = Model()
    async with serving(model) as url:
        figures = await measure(Target("it", url, "guide", "secret"), 4, 12, 5)
    assert (figures.requests, figures.failures, model.most_at_once) == (12, {}, 4)
    assert len({request["messages"][0]["content"] for request in model.requests}) == 12
    assert set(model.keys) == {"secret"}
    # 4 streams of one token per 10 ms, less what begins and ends around them
    assert 100 < figures.tokens_per_s < 400


async def test_the_same_prompt_can_be_sent_again_and_again():
    model = Model()
    async with serving(model) as url:
        await measure(Target("it", url, "guide"), 2, 4, 1, is_new=False)
    assert len({request["messages"][0]["content"] for request in model.requests}) == 1


class Standing:
    """Processes that burn half a core while idle, and 0.1 s more for each question about them; their memory grows."""

    def __init__(self):
        self.asked, self.began, self.mb = 0, time.perf_counter(), 100.0

    def front_end_cpu_s(self):
        self.asked += 1
        return 0.5 * (time.perf_counter() - self.began) + 0.1 * max(0, self.asked - 2)

    def ingress_uss_mb(self):
        self.mb += 3
        return self.mb


async def test_what_idle_processes_burn_is_told_apart_and_memory_is_weighed_after_cached_answers(tmp_path, monkeypatch):
    for name, value in {"SHORT_REQUESTS": 8, "IDLE_S": 0.3, "QUICK_CACHED_REQUESTS": 40, "LEAST_REQUESTS": 2}.items():
        monkeypatch.setattr(bench, name, value)
    chosen = options(monkeypatch, "--quick", "--streams", "2", "--max-tokens", 4, "--results", tmp_path)
    model = Model()
    async with serving(Model()) as bare_url, serving(model) as url:
        bare = Side(Target("bare vLLM", bare_url, "guide"))
        service = Side(Target("service", url, "guide"), Standing())
        await bench._rest([bare, service])
        await bench._measure([bare, service], [2], 1, 4)
        await bench._fill(service, bench.QUICK_CACHED_REQUESTS)
    assert service.idle_cores == pytest.approx(0.5, rel=0.1)
    # 6 answers of 4 tokens, and 0.1 s that is not idleness
    assert service.front_end_net_us[0] == pytest.approx(0.1 / 24 * 1e6, rel=0.1)
    assert service.front_end_us[0] > service.front_end_net_us[0]
    rows = {row.name: row for row in report.Report(bare, service, [2], chosen, 0.0).rows()}
    assert (rows["growth"].service, rows["growth"].is_met) == (6.0, False)
    assert rows["after 40 cached answers more"].service == 109.0
    assert len([r for r in model.requests if "-0)" in r["messages"][0]["content"]]) >= 40


async def test_a_quick_comparison_ends_in_time(monkeypatch, tmp_path):
    monkeypatch.setattr(bench, "QUICK_LIMIT_S", 0.2)
    monkeypatch.setenv("CHATLLM_API_KEY", "secret")
    async with serving(Model(delay_s=1.0)) as url:
        given = ("--url", url, "--bare-url", url, "--model", "guide", "--results", str(tmp_path), "--quick")
        ended = await asyncio.to_thread(run_main, monkeypatch, given)
    assert ended == "error: not done within 0 s"


def run_main(monkeypatch, given):
    monkeypatch.setattr(sys, "argv", ["bench", *given])
    monkeypatch.setattr(bench, "ends_with_its_service", lambda: None)  # a thread may not set signals
    with pytest.raises(SystemExit) as exit_:
        bench.main()
    return exit_.value.code


def test_the_key_of_a_target_is_not_shown():
    assert "secret" not in repr(Target("it", "http://127.0.0.1", "guide", "secret"))


def test_medians_and_quantiles():
    rounds = [Figures(4, 8, {"timeout": n} if n else {}, n, n, 2 * n, 3 * n, n, n) for n in (0, 5, 1)]
    assert median(rounds) == Figures(4, 24, {"timeout": 6}, 1, 1, 2, 3, 1, 1)
    assert quantile_ms([], 0.5) == 0
    assert quantile_ms([0.003, 0.001, 0.002], 0.5) == 2.0
    assert quantile_ms([0.001] * 99 + [1.0], 0.99) == 1000.0


def test_engine_arguments_become_vllms_options(tmp_path):
    model = {
        "id": "guide",
        "engine": {
            "model": "x",
            "max_model_len": 9,
            "enable_prefix_caching": False,
            "override": {"a": 1},
            "seed": None,
        },
        "chat": {"enable_auto_tools": True, "tool_parser": "hermes"},
        "environment": {"VLLM_CPU_KVCACHE_SPACE": "1"},
    }
    config = tmp_path / "serve_config.yaml"
    models = [{"id": "a", "kind": "scripted"}, model]
    config.write_text(yaml.safe_dump({"applications": [{"args": {"models": models}}]}, sort_keys=False))
    engine = EngineOf.read(config)
    assert (engine.model, engine.environment) == ("guide", {"VLLM_CPU_KVCACHE_SPACE": "1"})
    assert engine.arguments() == [
        *("--model", "x", "--max-model-len", "9", "--no-enable-prefix-caching", "--override", '{"a": 1}'),
        *("--enable-auto-tool-choice", "--tool-call-parser", "hermes"),
        *("--served-model-name", "guide", "--disable-uvicorn-access-log"),
    ]
    with pytest.raises(NotStarted, match="no vLLM model"):
        EngineOf.read(config, "another")


def options(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["bench", *map(str, arguments)])
    monkeypatch.setattr(bench, "SETTLING_S", 0.1)
    return bench._options()


async def test_a_comparison_is_printed_drawn_and_kept(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("CHATLLM_API_KEY", "secret")
    monkeypatch.setattr(bench, "SHORT_REQUESTS", 32)
    bare, service = Model(), Model()
    async with serving(bare) as bare_url, serving(service) as url:
        asked = ("--url", url, "--bare-url", bare_url, "--model", "guide", "--streams", "1,2", "--rounds", 2)
        chosen = options(monkeypatch, *asked, "--max-tokens", 4, "--results", tmp_path)
        assert await bench.bench(chosen) == 0
    printed = capsys.readouterr().out
    assert "tokens/s, 1 stream" in printed and "answers of one token" in printed
    document = json.loads(next(tmp_path.glob("*-bench.json")).read_text())
    assert len(document["rounds"]["bare vLLM"]["streams"]) == 4
    assert len(document["rounds"]["service"]["one_token"]) == 2
    assert all(
        0.2 < row["service"] / row["bare"] < 5 for row in document["table"] if row["name"].startswith("tokens/s")
    )
    assert "secret" not in json.dumps(document) + printed
    assert set(service.keys) == {"secret"} and bare.keys == []
    drawing = ElementTree.parse(next(tmp_path.glob("*.svg"))).getroot()
    assert len(drawing.findall(".//{http://www.w3.org/2000/svg}polyline")) == 4


@pytest.mark.parametrize(("added_s", "threshold", "status"), [(0.0, 0.5, 0), (0.05, 0.5, 1), (0.05, 0.0, 0)])
async def test_a_slower_service_misses_the_threshold(tmp_path, monkeypatch, added_s, threshold, status):
    monkeypatch.setattr(bench, "SHORT_REQUESTS", 8)
    async with serving(Model()) as bare_url, serving(Model(delay_s=added_s)) as url:
        asked = ("--url", url, "--bare-url", bare_url, "--model", "guide", "--streams", "2", "--quick")
        chosen = options(monkeypatch, *asked, "--max-tokens", 4, "--results", tmp_path, "--threshold", threshold)
        assert await bench.bench(chosen) == status


async def test_a_failed_request_fails_the_comparison(tmp_path, monkeypatch):
    monkeypatch.setattr(bench, "SHORT_REQUESTS", 8)
    service = Model()
    async with serving(Model()) as bare_url, serving(service) as url:
        asked = ("--url", url, "--bare-url", bare_url, "--model", "guide", "--streams", "2", "--quick")
        chosen = options(monkeypatch, *asked, "--max-tokens", 4, "--results", tmp_path)
        asyncio.get_running_loop().call_later(0.3, lambda: setattr(service, "fault", "cut off"))
        assert await bench.bench(chosen) == 1


async def test_a_service_that_does_not_answer_is_told_in_a_sentence(tmp_path, monkeypatch):
    with pytest.raises(NotStarted, match="does not answer"):
        await bench.bench(options(monkeypatch, "--url", "http://127.0.0.1:1", "--results", tmp_path))


def test_right_answers_are_counted_by_question() -> None:
    known = quality.questions()
    assert len({question.ask for question in known}) == len(known) > 70
    france = next(question for question in known if "France?" in question.ask)
    assert france.is_answered_by("It is paris.") and not france.is_answered_by("L'Étoile")
    one, two, three = known[:3]
    line = quality.summary({one: 4, two: 1, three: 0}, 4)
    assert line == "1.2 of 3 answers right; always 1, sometimes 1, never 1"
