"""What waits in ingress replicas is demand: it makes another replica start, and is forgotten with who told it."""

from deployments.models.scaling.backlog import FRESH_S, Backlog
from deployments.models.scaling.demand import demand
from deployments.models.scaling.load import FIGURES, Load
from deployments.models.scaling.policy import Memory, Reading, decide


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
