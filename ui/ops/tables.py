"""The parts of /ops that are tables: models, ingress replicas, recent errors, keys."""

from collections.abc import Sequence
from datetime import tzinfo

from nicegui import ui

from ui.api.errors import duration
from ui.chat.status_line import STEPS
from ui.i18n import percent, t
from ui.ops.formats import clock, seconds, whole
from ui.ops.metrics import Decision, KeyUsage, Metrics, Model, RecentError, Replica
from ui.widgets.elements import attribute, tag, text_element

MAX_KEYS = 50


class Section:
    """A heading and its content, which `show` replaces if it has changed."""

    def __init__(self, title: str, marker: str) -> None:
        self._shown: object = None
        with tag("div", "ops-section"):
            text_element("h2", title, "section-title")
            self._body = tag("div", "table-box", tabindex="0", role="region", aria_label=title).mark(marker)

    def fill(self, shown: object) -> ui.element | None:
        """Return the place to fill anew; None if it shows the same already."""
        if shown == self._shown:
            return None
        self._shown = shown
        self._body.clear()
        return self._body


STEADY = ("ready", "asleep")
"""States in which nothing is to be waited for."""


class ModelTable(Section):
    """Each model with its state, and what it does."""

    def __init__(self) -> None:
        super().__init__(t("Models"), "models")

    def show(self, models: Sequence[Model]) -> None:
        # The seconds of a state change all the time, and are shown while something is to be waited for.
        zero = {"elapsed_s": 0.0}
        steady = [model.model_copy(update=zero) if model.status in STEADY else model for model in models]
        if (place := self.fill(steady)) is None:
            return
        heads = (
            t("Model"),
            t("State"),
            t("Replicas"),
            t("Running"),
            t("Waiting"),
            t("Requests"),
            t("Output tokens"),
            t("First token, p50"),
            t("p95"),
        )
        with place, table(heads, texts=2) as rows, rows:
            for model in steady:
                _model_row(model)


def _model_row(model: Model) -> None:
    with tag("tr"):
        attribute(text_element("th", model.id), scope="row")
        with tag("td"):
            text_element("span", _state(model), f"state {model.status}")
            for line in filter(None, (model.reason, _queue(model))):
                text_element("div", line, "reason")
        numbers(
            whole(model.replicas),
            whole(model.running),
            whole(model.all_waiting),
            whole(model.total.count),
            whole(model.total.output_tokens),
            seconds(model.total.ttft.p50_s),
            seconds(model.total.ttft.p95_s),
        )


class ReplicaTable(Section):
    """The ingress replicas; one that has ended is listed as long as its figures are part of the charts."""

    def __init__(self) -> None:
        super().__init__(t("Ingress replicas"), "replicas")

    def show(self, replicas: Sequence[Replica], now: float) -> None:
        rows = [
            (each.id[:8], each.is_there, duration(max(1.0, now - each.started_at)), each.in_flight, each.seen_s_ago)
            for each in replicas
        ]
        if (place := self.fill([row[:4] for row in rows])) is None:
            return
        with place, table((t("Replica"), t("State"), t("Started"), t("Concurrent")), texts=3) as body, body:
            for name, is_there, age, in_flight, seen_s_ago in rows:
                gone = t("Unreachable for {time}", time=duration(seen_s_ago))
                with tag("tr"):
                    attribute(text_element("th", name, "mono"), scope="row")
                    with tag("td"):
                        text_element("span", t("Up") if is_there else gone, "state ready" if is_there else "state gone")
                    text_element("td", t("{time} ago", time=age))
                    numbers(whole(in_flight) if is_there else "–")


class DecisionTable(Section):
    """How the autoscaler changed the number of replicas, and why."""

    def __init__(self) -> None:
        super().__init__(t("Autoscaling"), "decisions")

    def show(self, decisions: Sequence[Decision], zone: tzinfo) -> None:
        if (place := self.fill((list(decisions), zone))) is None:
            return
        with place:
            if not decisions:
                text_element("p", t("The number of replicas has not changed."), "section-note")
                return
            with table((t("Time"), t("Model"), t("Replicas"), t("Reason")), texts=4) as rows, rows:
                for made in decisions:
                    with tag("tr"):
                        text_element("td", clock(made.at, zone), "mono")
                        text_element("td", made.model)
                        text_element("td", f"{made.before} → {made.after}", "mono")
                        text_element("td", made.reason)


class ErrorTable(Section):
    """The last errors: whose they are, and the ids by which they are found in the log."""

    def __init__(self) -> None:
        super().__init__(t("Recent errors"), "errors")

    def show(self, errors: Sequence[RecentError], names: dict[str, str], zone: tzinfo) -> None:
        if (place := self.fill((list(errors), names, zone))) is None:
            return
        with place:
            if not errors:
                text_element("p", t("No errors in this period."), "section-note")
                return
            heads = (t("Time"), t("Status"), t("Code"), t("Model"), t("Key"), t("Request"))
            with table(heads, texts=6) as rows, rows:
                for error in errors:
                    _error_row(error, names, zone)


def _error_row(error: RecentError, names: dict[str, str], zone: tzinfo) -> None:
    with tag("tr"):
        text_element("td", clock(error.at, zone), "mono")
        with tag("td"):
            text_element("span", str(error.status), "state failed" if error.status >= 500 else "state loading")
        text_element("td", error.code or "–", "mono")
        text_element("td", error.model or "–")
        text_element("td", names.get(error.key_id, error.key_id))
        with tag("td"):
            copied = text_element("button", error.request_id, "request-id mono")
            attribute(copied, type="button", data_act="copy-text", data_text=error.request_id)
            attribute(copied, title=t("Copy request ID"), data_said=t("Copied"))


class KeyTable(Section):
    """The keys that used most this month."""

    def __init__(self) -> None:
        super().__init__(t("Keys"), "keys")

    def show(self, keys: Sequence[KeyUsage]) -> None:
        if (place := self.fill(list(keys))) is None:
            return
        heads = (
            t("Key"),
            t("State"),
            t("Requests today"),
            t("Tokens today"),
            t("Requests this month"),
            t("Tokens this month"),
            t("From cache"),
            t("Failed"),
        )
        with place:
            with table(heads, texts=2) as rows, rows:
                for each in keys[:MAX_KEYS]:
                    _show_key(each)
            if len(keys) > MAX_KEYS:
                text_element("p", t("{count} more keys with less usage.", count=len(keys) - MAX_KEYS), "section-note")


def _show_key(each: KeyUsage) -> None:
    with tag("tr"):
        with attribute(tag("th"), scope="row"):
            text_element("span", each.key.name)
            text_element("span", f"…{each.key.last4}", "quiet mono")
            if each.key.admin:
                text_element("span", t("Administrator"), "admin")
        with tag("td"):
            text_element(
                "span", _key_state(each.key.status), f"state {'ready' if each.key.status == 'valid' else 'gone'}"
            )
        numbers(
            whole(each.today.requests),
            whole(each.today.total_tokens),
            whole(each.month.requests),
            whole(each.month.total_tokens),
            whole(each.month.cached_tokens),
            whole(each.month.errors),
        )


def table(heads: Sequence[str], texts: int) -> ui.element:
    """Return the body of a new table, whose first columns are texts and the others numbers."""
    with tag("table", "figures-table"):
        with tag("thead"), tag("tr"):
            for at, head in enumerate(heads):
                attribute(text_element("th", head, "" if at < texts else "number"), scope="col")
        return tag("tbody")


def numbers(*values: str) -> None:
    """Add cells to the row that is being built."""
    for value in values:
        text_element("td", value, "number")


def names_of(keys: Sequence[KeyUsage]) -> dict[str, str]:
    """Return the names of keys by their ids."""
    return {each.key.id: each.key.name for each in keys}


def _state(model: Model) -> str:
    known = {"ready": t("Ready"), "asleep": t("Asleep"), "loading": t("Loading"), "failed": t("Failed to load")}
    label = known.get(model.status, model.status)
    if model.status in STEADY:
        return label
    step = [t(STEPS[model.phase])] if model.phase in STEPS else []
    progress = [percent(model.percent)] if model.percent is not None else []
    left = [] if model.remaining_s is None else [t("about {wait} left", wait=duration(model.remaining_s))]
    return " · ".join([label, *step, *progress, duration(model.elapsed_s), *left])


def _queue(model: Model) -> str:
    """Return what waits in front of the engines; "" if nothing does."""
    if not model.queued:
        return ""
    return t("{count} in the queue, the oldest for {time}", count=whole(model.queued), time=seconds(model.oldest_s))


def _key_state(status: str) -> str:
    labels_by_status = {
        "valid": t("Valid"),
        "disabled": t("Disabled"),
        "expired": t("Expired"),
        "revoked": t("Revoked"),
    }
    return labels_by_status.get(status, status)


def has_traffic(metrics: Metrics) -> bool:
    """Whether anything has ended, or runs."""
    return bool(metrics.total.count or any(point.in_flight for point in metrics.points))
