"""What waits in ingress replicas is demand: it makes another replica start, and is forgotten with who told it."""

import pytest

from deployments.config import AnyModel, ProviderModel, ScriptedModel
from deployments.models.deployment import _Loaded, deployment_class
from deployments.models.scaling.backlog import FRESH_S, Backlog
from deployments.models.scaling.demand import demand
from deployments.models.scaling.load import FIGURES, Load
from deployments.models.scaling.policy import Memory, Reading, decide

SCRIPTED = ScriptedModel(id="quick", kind="scripted")
PROVIDER = ProviderModel(id="theirs", kind="provider", model="openai:some")


def test_what_was_told_counts_while_it_is_fresh() -> None:
    now = 100.0
    backlog = Backlog(lambda: now)
    backlog.note("a", 10)
    backlog.note("b", 5)
    assert backlog.waiting == 15
    now += FRESH_S / 2
    backlog.note("a", 2)
    assert backlog.waiting == 7
    now += FRESH_S / 2 + 1
    assert backlog.waiting == 2


def test_it_is_reported() -> None:
    assert "queued" in FIGURES


def test_what_waits_makes_a_replica_start_though_the_engine_is_not_full() -> None:
    """Serve gives a replica fewer requests at once than its engine holds: the engine alone never shows it."""
    load = Load(running=100, max_running=256, queued=200)
    assert demand([load], 0.0, None).replicas < 0.5
    quiet = decide(Reading(0.0, 1, 1, [load], [load], 0.0), Memory())
    busy = decide(Reading(0.0, 1, 1, [load], [load], load.queued), Memory())
    assert (quiet.replicas, busy.replicas) == (1, 2)


@pytest.mark.parametrize("model", [SCRIPTED, PROVIDER])
async def test_each_kind_of_replica_reports_it(model: AnyModel) -> None:
    replica_class = deployment_class(model)
    replica = object.__new__(replica_class)
    super(_Loaded, replica).__init__(model)
    replica._backlog = Backlog()
    await replica.note_backlog("a", 3)
    assert (await replica.record_autoscaling_stats())["queued"] == 3
