"""A chart: its text description, its drawing, its legend, and its data as a table."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from typing import Literal

from nicegui import ui

from ui.i18n import t
from ui.ops import drawing
from ui.ops.formats import clock
from ui.ops.metrics import Point
from ui.ops.series import Series
from ui.widgets.elements import attribute, tag, text_element

Kind = Literal["columns", "lines", "area"]


@dataclass(frozen=True, slots=True)
class Plan:
    """The definition of a chart: `show` formats a value, `top` is the fixed end of its axis, if any."""

    marker: str
    title: str
    about: str
    kind: Kind
    make: Callable[[Sequence[Point]], list[Series]]
    show: Callable[[float], str]
    top: float | None = None


class Chart:
    """One chart. `show` may be called repeatedly; the table is built only while it is open."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._series: list[Series] = []
        self._times: list[str] = []
        self._is_open = False
        with tag("figure", "chart").mark(plan.marker):
            with tag("figcaption", "chart-head"):
                text_element("h2", plan.title, "chart-title")
                text_element("p", plan.about, "chart-about")
            with tag("div", "plot", role="img") as self._plot:
                self._picture = ui.html("", sanitize=False).classes("picture")
                self._top, self._middle = text_element("span", "", "axis top"), text_element("span", "", "axis middle")
                self._empty = text_element("span", t("No data in this period"), "chart-empty")
            with tag("div", "times", aria_hidden="true"):
                self._from = text_element("span", "")
                text_element("span", t("now"))
            self._legend = tag("ul", "legend")
            with tag("details", "chart-table") as details:
                text_element("summary", t("View as table"))
                self._table = tag("div", "table-box", tabindex="0", role="region", aria_label=plan.title)
            details.on("toggle", self._toggle, js_handler="(event) => emit(event.target.open)")

    def show(self, points: Sequence[Point], zone: tzinfo, since: str) -> None:
        """Show the points; `since` is a text for when they begin."""
        plan, series = self._plan, self._plan.make(points)
        self._series, self._times = series, [clock(point.start, zone) for point in points]
        is_empty = not any(value for each in series for value in each.values)
        top = plan.top or drawing.nice_top(drawing.highest(series, is_stacked=plan.kind == "columns"))
        self._picture.set_content(self._drawn(series, top))
        self._empty.set_visibility(is_empty)
        self._top.text, self._middle.text = plan.show(top), plan.show(top / 2)
        self._from.text = since
        labels = [f"{each.name} {self._formatted(each.latest)}" for each in series]
        attribute(self._plot, aria_label=f"{plan.title}: {', '.join(labels)}")
        attribute(self._plot, data_moments="[]" if is_empty else json.dumps(self._moments()))
        self._show_legend()
        if self._is_open:
            self._show_table()

    def _drawn(self, series: list[Series], top: float) -> str:
        match self._plan.kind:
            case "columns":
                return drawing.columns(series, top)
            case "lines":
                return drawing.lines(series, top)
            case "area":
                return drawing.area(series[0], top)

    def _formatted(self, value: float | None) -> str:
        return "–" if value is None else self._plan.show(value)

    def _moments(self) -> list[list[str]]:
        """Return the text of each step: the time, then each series with a value."""
        return [
            [time, *(f"{each.name}: {self._formatted(value)}" for each in self._series if (value := each.values[at]))]
            for at, time in enumerate(self._times)
        ]

    def _show_legend(self) -> None:
        self._legend.clear()
        with self._legend:
            for each in self._series:
                with tag("li", "legend-item"):
                    tag("span", f"dot {each.tone}", aria_hidden="true")
                    text_element("span", each.name)
                    text_element("b", self._formatted(each.latest))

    def _toggle(self, event: object) -> None:
        self._is_open = bool(getattr(event, "args", False))
        self._table.clear()
        if self._is_open:
            self._show_table()

    def _show_table(self) -> None:
        self._table.clear()
        with self._table, tag("table", "figures-table"):
            with tag("thead"), tag("tr"):
                for name in (t("Time"), *(each.name for each in self._series)):
                    attribute(text_element("th", name), scope="col")
            with tag("tbody"):
                for at in reversed(range(len(self._times))):
                    self._show_row(at)

    def _show_row(self, at: int) -> None:
        with tag("tr"):
            attribute(text_element("th", self._times[at]), scope="row")
            for each in self._series:
                text_element("td", self._formatted(each.values[at]))
