"""What a person reads: steps, the announcement, states and reasons."""

import io
import json
import re
import time
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from deployments.local import announcement, status
from deployments.local.instance import Instance
from deployments.local.ray import load_times
from deployments.local.ray.report import STALE_AFTER_S, Deployment, RayReport
from deployments.local.steps import PlainSteps, Steps, TerminalSteps
from ui.auth.links import Links

INSTANCE = Instance(
    pid=1, started_ticks=1, host="127.0.0.1", port=8000, page_port=8080, dashboard_port=8265, model="guide"
)


def terminal(output: io.StringIO) -> TerminalSteps:
    return TerminalSteps(Console(file=output, force_terminal=True, width=80))


@pytest.mark.parametrize("make", [PlainSteps, terminal])
def test_a_step_is_named_with_its_outcome(make: type[PlainSteps]) -> None:
    output = io.StringIO()
    steps: Steps = make(output)
    with steps.step("Postgres"):
        steps.say("in between")
    with pytest.raises(ValueError, match="no"), steps.step("Ray"):
        raise ValueError("no")
    assert re.search(r"Postgres.*Ray: failed", output.getvalue(), re.DOTALL)
    assert "in between" in output.getvalue()


def test_a_spinner_says_how_far_a_step_has_come() -> None:
    output = io.StringIO()
    with terminal(output).step("Model smollm2 answers") as tell:
        tell("reading weights (40 %), 12 s so far, it took 45 s before")
        time.sleep(0.3)  # the terminal is drawn ten times a second
        tell("[red]")
    drawn = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", output.getvalue())
    assert "Model smollm2 answers: reading weights (40 %), 12 s so far, it took 45 s before" in " ".join(drawn.split())
    assert drawn.rstrip().rpartition("✓ ")[2].startswith("Model smollm2 answers ")


def test_plain_lines_do_not_say_how_far_a_step_has_come() -> None:
    output = io.StringIO()
    with PlainSteps(output).step("Model smollm2 answers") as tell:
        tell("reading weights (40 %)")
    assert output.getvalue() == "   0.0 s  Model smollm2 answers\n"


def test_plain_lines_carry_the_time() -> None:
    output = io.StringIO()
    with PlainSteps(output).step("Valkey"):
        pass
    assert output.getvalue() == "   0.0 s  Valkey\n"


def test_the_announcement_holds_calls_that_can_be_pasted() -> None:
    text = announcement.text(INSTANCE, "sk-chatllm-x", Path("/state"))
    body = re.search(r"-d '(.*)'", text)
    assert body
    assert json.loads(body.group(1))["model"] == "guide"
    snippet = re.search(r"<<'PYTHON'\n(.*?)\n  PYTHON", text, re.DOTALL)
    assert snippet
    compile("\n".join(line.removeprefix("  ") for line in snippet.group(1).splitlines()), "snippet", "exec")
    assert "http://127.0.0.1:8080" in text


def test_the_announcement_has_a_link_that_opens_the_page(tmp_path: Path) -> None:
    text = announcement.text(replace(INSTANCE, page_takes_links=True), "sk-chatllm-x", tmp_path)
    link = re.search(r"http://127\.0\.0\.1:8080/open\?link=(\S+)\n", text)
    assert link and Links(tmp_path / "page").follow(link[1])


def test_a_failed_model_is_one_line_without_its_traceback() -> None:
    message = (
        "The deployment failed to start:\nTraceback (most recent call last):\n  File x\nValueError: no such model\n"
    )
    report = RayReport(phase="deployed", deployments={"model-guide": Deployment("DEPLOY_FAILED", message)})
    assert announcement.failure(report) == "model-guide did not start: ValueError: no such model"


def test_a_report_survives_being_written(tmp_path: Path) -> None:
    report = RayReport(
        phase="deployed", gcs="127.0.0.1:1", deployments={"Ingress": Deployment("HEALTHY", "", {"RUNNING": 2})}
    )
    report.write(tmp_path / "ray.json")
    assert RayReport.read(tmp_path / "ray.json") == report
    assert report.is_fresh()
    assert not replace(report, written_at=report.written_at - STALE_AFTER_S - 1).is_fresh()


@pytest.mark.parametrize("text", ["", "{"])
def test_half_a_report_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "ray.json").write_text(text)
    assert RayReport.read(tmp_path / "ray.json") is None


def test_the_status_of_nothing_names_the_command_that_starts_it(tmp_path: Path) -> None:
    assert "make serve" in status.lines(status.gather(tmp_path))[0]


def test_a_model_that_cannot_load_is_told_in_its_own_sentence(tmp_path: Path) -> None:
    failed = Deployment("UPDATING", "a traceback", {"STARTING": 1}, reason="The disk is full.", has_failed=True)
    report = RayReport(phase="deployed", deployments={"Ingress": Deployment("HEALTHY"), "model-a": failed})
    assert announcement.failure(report) == "model-a did not start: The disk is full."
    assert report.has_failed("model-a") and not report.has_failed("Ingress")
    report.write(tmp_path / "ray.json")
    models = status._models(RayReport.read(tmp_path / "ray.json"))  # pyright: ignore[reportPrivateUsage]
    told = {
        "running": True,
        "phase": "answering",
        "pid": 1,
        "state": "/s",
        "addresses": {},
        "parts": {},
        "troubles": {},
    }
    assert "  model-a    failed (1 starting) The disk is full." in status.lines({**told, "models": models})


def test_how_far_a_model_has_come_is_told_with_what_it_took_before() -> None:
    loading = Deployment("UPDATING", phase="reading_weights", percent=40, since=100.0, expected_s=45.0)
    assert status.phase_text(loading, 112.4) == "reading weights (40 %), 12 s so far, it took 45 s before"
    assert status.phase_text(replace(loading, percent=None, expected_s=None), 112.4) == "reading weights, 12 s so far"
    assert status.phase_text(Deployment("HEALTHY"), 112.4) == ""


def test_times_of_loading_are_kept_and_the_oldest_are_forgotten(tmp_path: Path) -> None:
    assert load_times.read(tmp_path) == {}
    for number in range(load_times.MAX_KEPT + 5):
        load_times.keep(tmp_path, f"model-{number}", float(number))
    kept = load_times.read(tmp_path)
    assert len(kept) == load_times.MAX_KEPT and "model-0" not in kept
    (tmp_path / "load_times.json").write_text("[")
    assert load_times.read(tmp_path) == {}
