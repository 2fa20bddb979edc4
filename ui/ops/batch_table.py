"""The part of /ops about batches: whose are open, how far they are, and when they will end."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import tzinfo

from ui.api.errors import duration
from ui.i18n import percent, t
from ui.ops.batches import MAX_SHOWN, Counts, OpenBatch
from ui.ops.formats import clock, whole
from ui.ops.tables import Section, table
from ui.widgets.elements import attribute, tag, text_element

DOTS = {"in_progress": "ready", "validating": "loading", "finalizing": "loading"}


@dataclass(frozen=True, slots=True)
class _Row:
    """A batch as it is shown: compared, so that a table is built anew only where it says something else."""

    batch: OpenBatch
    age: str
    end: str
    left: str


class BatchTable(Section):
    """The batches that have not ended."""

    def __init__(self) -> None:
        super().__init__(t("Open batches"), "batches")

    def show(self, batches: Sequence[OpenBatch] | None, now: float, zone: tzinfo) -> None:
        rows = None if batches is None else [_row(batch, now, zone) for batch in batches]
        if (place := self.fill((rows, zone))) is None:
            return
        with place:
            if not rows:
                text = t("Batches cannot be read right now.") if rows is None else t("No open batches.")
                text_element("p", text, "section-note")
                return
            # On a phone the first two columns are in sight.
            heads = (t("Key"), t("Progress"), t("Expected end"), t("State"), t("Model"), t("Age"))
            with table(heads, texts=6) as body, body:
                for row in rows:
                    _show(row)
            if len(rows) >= MAX_SHOWN:
                text_element("p", t("The oldest {count} are shown.", count=MAX_SHOWN), "section-note")


def _row(batch: OpenBatch, now: float, zone: tzinfo) -> _Row:
    end, left = "–", ""
    if batch.expected_end_at is not None and batch.expected_end_at > batch.expires_at:
        end, left = clock(batch.expires_at, zone), t("expires before it finishes")
    elif batch.expected_end_at is not None:
        end = clock(batch.expected_end_at, zone)
        left = t("about {wait} left", wait=duration(max(1.0, batch.expected_end_at - now)))
    steady = batch.model_copy(update={"expected_end_at": None})  # what is shown of it stands in `end`
    return _Row(steady, duration(max(1.0, now - batch.created_at)), end, left)


def _show(row: _Row) -> None:
    batch = row.batch
    with tag("tr"):
        with attribute(tag("th", "batch-key"), scope="row", title=batch.id):
            text_element("span", batch.key_name or batch.key_id)
        with tag("td", "batch-progress"):
            _show_progress(batch.request_counts)
        with tag("td"):
            text_element("span", row.end, "mono")
            text_element("span", row.left, "batch-note")
        with tag("td"):
            text_element("span", _state(batch.status), f"state {DOTS.get(batch.status, 'gone')}")
        text_element("td", batch.model or t("several"))
        text_element("td", row.age)


def _show_progress(counts: Counts) -> None:
    if not counts.total:
        text_element("span", "–")
        return
    done = counts.completed + counts.failed
    label = t("{done} of {all}", done=whole(done), all=whole(counts.total))
    share = percent(100 * done // counts.total)
    attribute(tag("progress", "batch-bar"), value=str(done), max=str(counts.total), aria_label=label)
    with tag("div", "batch-counts"):
        text_element("span", f"{label} · {share}")
        if counts.failed:
            text_element("span", t("{count} failed", count=whole(counts.failed)), "batch-failed")


def _state(status: str) -> str:
    known = {
        "validating": t("Being checked"),
        "in_progress": t("In progress"),
        "finalizing": t("Writing its files"),
        "cancelling": t("Being cancelled"),
    }
    return known.get(status, status)
