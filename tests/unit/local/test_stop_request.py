"""What a stop is told, and what is said while it waits."""

from pathlib import Path

import pytest

from deployments.local import stop_request
from deployments.local.background import WaitingNotice
from deployments.local.ray.report import RayReport
from deployments.local.stop_request import StopRequest


def test_it_is_read_as_it_was_written_until_it_is_forgotten(tmp_path: Path) -> None:
    assert StopRequest.read(tmp_path) is None
    StopRequest(5.0).write(tmp_path)
    StopRequest(5.0, 123.5).write(tmp_path)
    assert StopRequest.read(tmp_path) == StopRequest(5.0, 123.5)
    stop_request.forget(tmp_path)
    stop_request.forget(tmp_path)
    assert StopRequest.read(tmp_path) is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"unknown": 1}'])
def test_a_damaged_one_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "stop.json").write_text(text)
    assert StopRequest.read(tmp_path) is None


def test_what_is_waited_for_is_said_once() -> None:
    said: list[str] = []
    notice = WaitingNotice(30, said.append)
    for report in (None, RayReport("deployed"), RayReport("deployed", answers=0)):
        notice.show(report)
    assert said == []
    for answers in (3, 2, 1):
        notice.show(RayReport("deployed", answers=answers))
    assert said == ["Waiting for 3 answers to end, for 30 s at most. Press Ctrl-C to stop at once."]


def test_one_answer_is_one() -> None:
    said: list[str] = []
    WaitingNotice(1.5, said.append).show(RayReport("deployed", answers=1))
    assert said[0].startswith("Waiting for 1 answer to end, for 2 s at most.")
