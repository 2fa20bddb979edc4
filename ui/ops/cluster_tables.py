"""The parts of /ops about what models run on: past starts of replicas, and the nodes of the cluster."""

from collections.abc import Sequence
from datetime import tzinfo

from ui.chat.status_line import STEPS
from ui.i18n import t
from ui.ops.formats import moment, seconds, whole
from ui.ops.metrics import Node, Start
from ui.ops.tables import Section, numbers, table
from ui.widgets.elements import attribute, tag, text_element

GIB = 1024**3
PHASES = {"scheduling": "Scheduling", "starting": "Starting", **STEPS, "joining": "Joining"}
LEAST_S = 0.05
"""A phase that took less is not named."""


class StartTable(Section):
    """How long replicas took to start, and what with."""

    def __init__(self) -> None:
        super().__init__(t("Past starts"), "starts")

    def show(self, starts: Sequence[Start], zone: tzinfo) -> None:
        if (place := self.fill((list(starts), zone))) is None:
            return
        with place:
            if not starts:
                text_element("p", t("No model starts recorded."), "section-note")
                return
            with table((t("Time"), t("Model"), t("Took"), t("Phases")), texts=4) as rows, rows:
                for start in starts:
                    with tag("tr"):
                        text_element("td", moment(start.at, zone), "mono")
                        text_element("td", start.model)
                        text_element("td", seconds(start.took_s), "mono")
                        text_element("td", _phases(start))


class NodeTable(Section):
    """The nodes, and what each offers."""

    def __init__(self) -> None:
        super().__init__(t("Nodes"), "nodes")

    def show(self, nodes: Sequence[Node]) -> None:
        if (place := self.fill(list(nodes))) is None:
            return
        heads = (t("Node"), t("State"), t("Address"), t("CPUs"), t("GPUs"), t("Memory"))
        with place, table(heads, texts=3) as rows, rows:
            for node in nodes:
                _node_row(node)


def _node_row(node: Node) -> None:
    with tag("tr"):
        attribute(text_element("th", node.name or node.id[:8]), scope="row")
        with tag("td"):
            text_element("span", _state(node), "state ready" if node.is_alive else "state gone")
            if node.lost_because:
                text_element("div", node.lost_because, "reason")
        text_element("td", node.address, "mono")
        numbers(whole(round(node.cpus)), whole(round(node.gpus)), f"{node.memory_bytes / GIB:.0f} GiB")


def _state(node: Node) -> str:
    if not node.is_alive:
        return t("Gone")
    return t("Head") if node.is_head else t("Up")


def _phases(start: Start) -> str:
    """Return the phases that took any time, in their order."""
    named = [(t(PHASES[name]), took_s) for name, took_s in start.phases.items() if name in PHASES and took_s >= LEAST_S]
    return " · ".join(f"{name} {seconds(took_s)}" for name, took_s in named)
