"""The content of /ops: current figures, charts, and tables."""

from collections.abc import Callable, Iterable, Sequence
from datetime import tzinfo
from functools import partial
from typing import Any

from nicegui.elements.mixins.text_element import TextElement

from ui.api.errors import ApiError, explain
from ui.i18n import t
from ui.ops import series
from ui.ops.batch_table import BatchTable
from ui.ops.chart import Chart, Plan
from ui.ops.cluster_tables import NodeTable, StartTable
from ui.ops.formats import clock, number, percent, seconds, whole
from ui.ops.metrics import KeyUsage, Metrics
from ui.ops.tables import DecisionTable, ErrorTable, KeyTable, ModelTable, ReplicaTable, has_traffic, names_of
from ui.widgets.elements import attribute, button, icon_button, tag, text_element


class Board:
    """The laid out page."""

    def __init__(self, on_range: Callable[[bool], Any], way_out: str, on_leave: Callable[[], Any]) -> None:
        """`on_range` gets whether an hour is selected; `way_out` is the label of the button that leaves the page."""
        self._metrics: Metrics | None = None
        self._lay_out_head(on_range, way_out, on_leave)
        with tag("main", "ops-main") as self._main:
            text_element("h1", t("Operations"), "unseen")
            self._notice = tag("div", "ops-notice", role="status").mark("notice")
            self._quiet = tag("div", "ops-quiet").mark("quiet")
            with self._quiet:
                text_element("h2", t("No requests in this period"), "quiet-title")
                text_element("p", t("The charts fill in as requests arrive."), "quiet-text")
            self._tiles = Tiles()
            with tag("div", "charts"):
                self._charts = [Chart(plan) for plan in plans()]
            self._models, self._decisions, self._errors = ModelTable(), DecisionTable(), ErrorTable()
            self._starts, self._batches, self._keys = StartTable(), BatchTable(), KeyTable()
            self._replicas, self._nodes = ReplicaTable(), NodeTable()
        self._notice.set_visibility(False)

    def _lay_out_head(self, on_range: Callable[[bool], Any], way_out: str, on_leave: Callable[[], Any]) -> None:
        with tag("header", "ops-head"):
            with attribute(tag("a", "brand"), href="/", aria_label=t("Back to the chat")):
                tag("span", "mark", aria_hidden="true")
                text_element("span", t("Operations"), "brand-name")
            self._live = text_element("span", "", "live-note").mark("live")
            tag("div", "gap")
            self._link = text_element("a", t("Ray dashboard"), "button quiet small").mark("dashboard")
            attribute(self._link, target="_blank", rel="noopener noreferrer")
            self._link.set_visibility(False)
            with tag("div", "range", role="group", aria_label=t("Time range")):
                self._quarter = button(t("15 min"), partial(on_range, False), "choice").mark("range-15")
                self._hour = button(t("1 h"), partial(on_range, True), "choice").mark("range-60")
            icon_button("theme", t("Switch between light and dark"), act="theme")
            button(way_out, on_leave, "quiet small").mark("leave")

    def choose(self, is_hour: bool) -> None:
        """Mark the selected time range."""
        attribute(self._quarter, aria_pressed=str(not is_hour).lower())
        attribute(self._hour, aria_pressed=str(is_hour).lower())

    def show(self, metrics: Metrics, zone: tzinfo, keys: Sequence[KeyUsage]) -> None:
        """Show the figures."""
        self._metrics = metrics
        self._main.classes(remove="stale")
        self._live.text = t("Live · {time}", time=clock(metrics.end, zone))
        self._live.classes("on")
        self._show_partial(metrics)
        self._quiet.set_visibility(not has_traffic(metrics))
        self._tiles.show(metrics)
        points = series.finished(metrics)
        since = t("{minutes} min ago", minutes=len(metrics.points) * metrics.step_s // 60)
        for chart in self._charts:
            chart.show(points, zone, since)
        self._models.show(metrics.models)
        self._decisions.show(metrics.decisions, zone)
        self._errors.show(metrics.errors, names_of(keys), zone)
        self._starts.show(metrics.starts, zone)
        self._batches.show(metrics.batches, metrics.end, zone)
        self._replicas.show(metrics.replicas, metrics.end)
        self._nodes.show(metrics.nodes)

    def show_keys(self, keys: Sequence[KeyUsage]) -> None:
        """Show the keys and their usage."""
        self._keys.show(keys)

    def show_dashboard(self, link: str) -> None:
        """Offer Ray's dashboard where there is one."""
        attribute(self._link, href=link)
        self._link.set_visibility(bool(link))

    def pause(self) -> None:
        """Show that polling is paused while the page is hidden."""
        self._live.text = t("Paused")
        self._live.classes(remove="on")

    def fail(self, error: ApiError) -> None:
        """Show that updates fail; the last figures stay, dimmed."""
        self._main.classes(add="stale")
        self._live.text = t("Not live")
        self._live.classes(remove="on")
        advice = explain(error)
        shown = t("These are the last metrics received.") if self._metrics else ""
        self._say("bad", advice.title, f"{t('Retrying automatically.')} {shown}".strip())

    def _show_partial(self, metrics: Metrics) -> None:
        because = metrics.partial_because or ""
        if not metrics.is_partial:
            self._notice.set_visibility(False)
        elif because.startswith("redis"):
            text = t("The store shared by the replicas is not responding ({reason}).", reason=because)
            self._say("wait", t("These metrics cover one replica only"), text)
        else:
            text = t("Some replicas run a different version, or there are too many replicas.")
            self._say("wait", t("Some metrics are missing"), text)

    def _say(self, tone: str, title: str, text: str) -> None:
        self._notice.clear()
        attribute(self._notice, data_tone=tone)
        self._notice.set_visibility(True)
        with self._notice:
            text_element("strong", title)
            text_element("span", text)


class Tiles:
    """The key figures at the top."""

    def __init__(self) -> None:
        with tag("dl", "tiles"):
            self._rate = _tile(t("Requests per second"), "tile-rate")
            self._tokens = _tile(t("Tokens per second"), "tile-tokens")
            self._first = _tile(t("First token, p50 / p95"), "tile-first")
            self._hits = _tile(t("Cached or shared"), "tile-hits")
            self._now = _tile(t("Running / waiting"), "tile-now")
            self._failed = _tile(t("Failed"), "tile-failed")

    def show(self, metrics: Metrics) -> None:
        """Show the last minute, or the whole range if a minute has too little data."""
        recent = [point for point in metrics.points if point.start + point.seconds > metrics.end - 60]
        over_s = max(1.0, sum(point.seconds for point in recent))
        total = metrics.total
        hits, joins = series.share(total.cache, "HIT"), series.share(total.cache, "JOIN")
        running = _sum(model.running for model in metrics.models)
        waiting = _sum(model.all_waiting for model in metrics.models)
        self._rate.text = number(sum(point.count for point in recent) / over_s)
        self._tokens.text = number(sum(point.output_tokens for point in recent) / over_s)
        self._first.text = f"{seconds(total.ttft.p50_s)} / {seconds(total.ttft.p95_s)}"
        self._hits.text = percent(None if hits is None or joins is None else hits + joins)
        self._now.text = f"{whole(running)} / {whole(waiting)}"
        self._failed.text = t("{count} of {all}", count=whole(total.ended_as("5")), all=whole(total.count))


def _tile(name: str, marker: str) -> TextElement:
    with tag("div", "tile"):
        text_element("dt", name, "tile-name")
        return text_element("dd", "–", "tile-value").mark(marker)


def _sum(counts: Iterable[int | None]) -> int | None:
    """Return the sum; None where one of them is not known."""
    total = 0
    for count in counts:
        if count is None:
            return None
        total += count
    return total


def plans() -> list[Plan]:
    """Return the charts, in their order."""
    outcomes, counted = t("Completed requests by outcome"), t("Counted when a response completes")
    streamed, duration = t("Streamed responses generated by a model"), t("From arrival to completion")
    most, queued = t("Maximum per step, including waiting requests"), t("Maximum in the queue per step, by model")
    return [
        Plan("chart-requests", t("Requests per second"), outcomes, "columns", series.requests, number),
        Plan("chart-tokens", t("Output tokens per second"), counted, "columns", series.tokens, number),
        Plan("chart-first", t("Time to first token"), streamed, "lines", series.first_tokens, seconds),
        Plan("chart-whole", t("Request duration"), duration, "lines", series.whole_requests, seconds),
        Plan("chart-cache", t("Cache"), t("Share of cacheable requests"), "columns", series.reuse, _of_hundred, 100.0),
        Plan("chart-flight", t("Concurrent requests"), most, "area", series.in_flight, number),
        Plan("chart-queue", t("Waiting requests"), queued, "columns", series.queued, number),
        Plan("chart-replicas", t("Replicas"), t("Running, by model"), "columns", series.replicas, number),
    ]


def _of_hundred(value: float) -> str:
    return percent(value / 100)
