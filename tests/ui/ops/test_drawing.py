"""Charts as they are drawn, and the numbers beside them."""

import re

import pytest

from ui.ops import drawing
from ui.ops.formats import clock, number, percent, seconds, whole, zone_named
from ui.ops.metrics import Metrics, Point, Quantiles
from ui.ops.series import Series, finished, first_tokens, in_flight, replicas, requests, reuse, share, tokens


def columns(svg: str, tone: str) -> list[tuple[float, float, float]]:
    """Return x, y and height of each column of a tone."""
    path = re.search(f'class="column {tone}" d="([^"]*)"', svg)
    assert path
    found = re.findall(r"M([\d.]+) ([\d.]+)h[\d.]+v([\d.]+)", path[1])
    return [(float(x), float(y), float(height)) for x, y, height in found]


def test_columns_stand_on_each_other() -> None:
    svg = drawing.columns([Series("a", "good", [1.0, 0.0, 2.0]), Series("b", "bad", [3.0, 4.0, None])], top=4.0)
    assert [(y, height) for _, y, height in columns(svg, "good")] == [(112.5, 37.5), (75.0, 75.0)]
    assert [(y, height) for _, y, height in columns(svg, "bad")] == [(0.0, 112.5), (0.0, 150.0)]
    assert columns(svg, "good")[0][0] == columns(svg, "bad")[0][0]


def test_a_line_has_gaps_where_there_is_nothing_and_dots_where_one_stands_alone() -> None:
    svg = drawing.lines([Series("a", "good", [1.0, 1.0, None, 0.5, None])], top=1.0)
    path = re.search('class="line good" d="([^"]*)"', svg)
    assert path and path[1] == "M60.0 0.0h.01L180.0 0.0M420.0 75.0h.01"


def test_an_area_reaches_from_end_to_end() -> None:
    svg = drawing.area(Series("a", "cool", [2.0, 1.0]), top=2.0)
    assert 'd="M0 150L0.0 0.0H300.0L300.0 75.0H600.0V150z"' in svg


@pytest.mark.parametrize(
    ("highest", "top"), [(0, 1), (0.7, 0.8), (1, 1), (1.01, 2), (7, 8), (9.9, 10), (43, 50), (0.0012, 0.002)]
)
def test_an_axis_ends_at_a_round_number(highest: float, top: float) -> None:
    assert drawing.nice_top(highest) == pytest.approx(top)


def test_the_highest_is_that_of_the_sum_where_columns_are_stacked() -> None:
    series = [Series("a", "good", [1.0, 3.0]), Series("b", "bad", [2.0, None])]
    assert drawing.highest(series, is_stacked=True) == drawing.highest(series, is_stacked=False) == 3.0
    assert drawing.highest([*series, Series("c", "wait", [1.0, 1.0])], is_stacked=True) == 4.0
    assert drawing.highest([], is_stacked=True) == 0.0


def point(**more: object) -> Point:
    return Point.model_validate({"start": 100.0, "seconds": 10.0, **more})


def values(series: list[Series]) -> list[list[float | None]]:
    return [each.values for each in series]


def test_requests_are_told_by_how_they_ended() -> None:
    told = requests([point(requests={"200": 20, "400": 1, "429": 2, "499": 3, "500": 1, "503": 4})])
    assert values(told) == [[2.0], [0.3], [0.3], [0.5]]
    assert [each.tone for each in told] == ["good", "quiet", "wait", "bad"]


def test_tokens_times_and_shares() -> None:
    quick = point(
        output_tokens=50,
        reused_tokens=20,
        ttft=Quantiles(count=2, p50_s=0.1, p95_s=0.4),
        cache={"HIT": 1, "JOIN": 1, "MISS": 2, "BYPASS": 96},
        in_flight=7,
    )
    points = [quick, point()]
    assert values(tokens(points)) == [[5.0, 0.0], [2.0, 0.0]]
    assert values(first_tokens(points)) == [[0.1, None], [0.4, None]]
    assert values(reuse(points)) == [[25.0, None], [25.0, None], [50.0, None]]
    assert values(in_flight(points)) == [[7.0, 0.0]]
    assert share({"BYPASS": 3}, "HIT") is None
    assert first_tokens(points)[0].latest == 0.1


def test_replicas_are_told_by_model_and_those_without_a_color_together() -> None:
    several = {name: count for count, name in enumerate("abcdef", 1)}
    told = replicas([point(), point(replicas=several), point(replicas={"f": 2})])
    assert [each.name for each in told] == ["f", "e", "d", "c", "Other models"]
    assert values(told)[0] == [None, 6.0, 2.0] and values(told)[-1] == [None, 3.0, 0.0]
    assert len({each.tone for each in told}) == 5
    assert values(replicas([point()])) == []


def test_a_step_that_has_just_begun_is_not_told() -> None:
    metrics = Metrics(start=0, end=20, step_s=15, replicas_seen=1, points=[point(), point(seconds=4.9)], total=point())
    assert len(finished(metrics)) == 1
    metrics.points[-1].seconds = 5.0
    assert len(finished(metrics)) == 2


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.004, "< 0.01"), (0.5, "0.5"), (3.146, "3.15"), (10, "10"), (12.34, "12.3"), (1234.5, "1,234")],
)
def test_numbers_have_the_digits_that_count(value: float, text: str) -> None:
    assert number(value) == text


def test_what_is_not_known_is_a_dash() -> None:
    assert (whole(None), seconds(None), percent(None)) == ("–", "–", "–")
    assert (whole(12345), seconds(0.0421), seconds(1.5), percent(0.426)) == ("12,345", "42 ms", "1.5 s", "43%")


def test_times_are_those_of_the_reader() -> None:
    assert clock(0, zone_named("Europe/Berlin")) == "01:00:00"
    for nonsense in ("", "../../etc/passwd", "Nowhere/At all", None, "x" * 1000):
        assert clock(0, zone_named(nonsense)) == "00:00:00"
