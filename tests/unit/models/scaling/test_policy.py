"""The autoscaler's policy, without Serve: what it decides, what it says, and what it remembers."""

import json
from dataclasses import replace

from deployments.models.scaling.demand import TREND_S, demand, overload, slope
from deployments.models.scaling.load import Load, Mean, Rates
from deployments.models.scaling.policy import Memory, Reading, decide

IDLE = Load(max_running=100)
HALF = Load(running=50, max_running=100, kv_cache=0.3)
CROWDED = Load(
    running=100, waiting=41, max_running=100, kv_cache=0.93, asked_tokens_per_s=2_000, read_tokens_per_s=1_000
)


def reading(*loads: Load, target: int | None = None, now: float = 1000.0, queued: float = 0.0) -> Reading:
    return Reading(now, len(loads), len(loads) if target is None else target, loads, loads, queued)


def test_a_queue_starts_replicas_and_the_sentence_has_the_figures() -> None:
    verdict = decide(reading(CROWDED), Memory())
    assert verdict.replicas == 3  # twice what one replica holds, each filled to 70 %
    assert verdict.reason == "100 of 100 running, 41 waiting, KV cache 93 %"


def test_a_full_kv_cache_starts_a_replica_though_few_requests_run() -> None:
    verdict = decide(reading(replace(HALF, running=8, kv_cache=0.93)), Memory())
    assert (verdict.replicas, verdict.cause) == (2, "kv_cache")
    assert verdict.reason.startswith("KV cache 93 %")


def test_an_engine_without_time_starts_a_replica_though_its_places_are_free() -> None:
    busy = replace(HALF, running=20, busy=1.0, steps_per_s=50, step_s=0.005)
    verdict = decide(reading(busy), Memory())
    assert (verdict.replicas, verdict.cause) == (2, "work")
    assert verdict.reason.startswith("computing 75 %")


def test_the_cost_of_a_step_is_the_least_that_was_seen() -> None:
    verdict = decide(reading(replace(HALF, step_s=0.02)), Memory(step_s=0.005))
    assert verdict.memory.step_s == 0.005
    assert decide(reading(replace(HALF, step_s=0.002)), Memory(step_s=0.005)).memory.step_s == 0.002


def test_between_the_thresholds_nothing_changes() -> None:
    for running in (56, 60, 69):
        two = [replace(HALF, running=running)] * 2
        assert decide(reading(*two), Memory()).replicas == 2


def test_a_replica_goes_once_the_others_have_room() -> None:
    assert decide(reading(*[replace(HALF, running=20, kv_cache=0.1)] * 2), Memory()).replicas == 1
    verdict = decide(reading(IDLE), Memory())
    assert (verdict.replicas, verdict.cause) == (0, "idle")


def test_what_was_needed_within_two_look_back_periods_stays() -> None:
    memory = Memory(samples=((950.0, 1.3, 1.3),))
    assert decide(reading(IDLE, IDLE, IDLE), memory).replicas == 3
    assert decide(reading(IDLE, IDLE, IDLE, now=1100.0), memory).replicas == 0


def test_a_missed_goal_starts_a_replica_only_while_prompts_queue() -> None:
    late = replace(HALF, ttft_s=3.0, target_ttft_s=2.0)
    queue = replace(late, waiting=5, asked_tokens_per_s=110, read_tokens_per_s=100)
    assert decide(reading(late), Memory()).replicas == 1, "another replica would not be faster"
    verdict = decide(reading(queue), Memory())
    assert (verdict.replicas, verdict.cause) == (2, "ttft")
    assert verdict.reason.startswith("first token after 3.0 s (goal 2 s), 5 waiting")
    drained = replace(queue, asked_tokens_per_s=90)
    assert decide(reading(drained), Memory()).replicas == 1, "it works off what it has"


def test_no_replica_goes_while_requests_queue() -> None:
    queued = Load(waiting=200, max_running=256, busy=1.0)
    assert decide(reading(queued, queued, queued), Memory()).replicas == 3
    assert decide(reading(*[replace(queued, waiting=1)] * 3), Memory()).replicas == 0, "one is no queue"


def test_a_replica_that_does_not_report_counts_as_full_and_keeps_no_other_one() -> None:
    four = [replace(HALF, running=10, kv_cache=0.1)] * 4
    assert decide(Reading(1000.0, 4, 4, four), Memory()).replicas == 1
    assert decide(Reading(1000.0, 8, 8, four), Memory()).replicas == 8, "half of them"
    assert decide(Reading(1000.0, 5, 5, four), Memory()).replicas == 3, "0.4 and 1.0, below 55 % of each"
    full = [replace(HALF, running=65)] * 4
    assert decide(Reading(1000.0, 5, 5, full), Memory()).replicas == 5


def test_with_no_replica_it_stays_with_the_target_and_tells_who_is_held() -> None:
    verdict = decide(Reading(1000.0, 0, 1, (), queued=12), Memory())
    assert (verdict.replicas, verdict.reason) == (1, "12 held")


def test_requests_in_serves_queue_count_like_those_that_run() -> None:
    full = replace(HALF, running=60)
    assert decide(reading(full), Memory()).replicas == 1
    assert decide(reading(full, queued=60), Memory()).replicas == 2


def test_what_is_asked_for_beyond_what_is_read_scales_the_demand() -> None:
    assert overload([CROWDED]) == 2.0
    assert overload([replace(CROWDED, waiting=1)]) == 1.0, "one prompt that is being read is no queue"
    assert demand([CROWDED], 0.0, None).replicas == 2.0


def test_a_trend_counts_and_noise_does_not() -> None:
    times = [10.0 * number for number in range(int(TREND_S / 10))]
    assert slope([(at, 0.0, 0.5 + at / 200) for at in times]) > 0.0049
    assert slope([(at, 0.0, 0.5 * (1.2 if number % 2 else 0.8)) for number, at in enumerate(times)]) == 0.0
    assert slope([(at, 0.0, at) for at in times[:5]]) == 0.0, "too few to tell"


def test_a_rising_demand_starts_a_replica_before_it_is_needed() -> None:
    memory = Memory()
    wanted: list[int] = []
    for number in range(30):
        running = 20 + 1.5 * number
        now = 1000.0 + 10 * number
        verdict = decide(reading(replace(HALF, running=running), now=now), memory)
        memory = verdict.memory
        wanted.append(verdict.replicas)
    assert wanted[5] == 1
    risen = wanted.index(2)
    assert 20 + 1.5 * risen < 70, "before the replica is full"


def test_it_learns_how_long_a_start_takes() -> None:
    memory = decide(reading(HALF, target=2, now=0.0), Memory()).memory
    memory = decide(reading(HALF, target=2, now=100.0), memory).memory
    memory = decide(reading(HALF, HALF, now=160.0), memory).memory
    assert memory.start_s == 60 + 0.3 * 100
    assert memory.starting_since is None


def test_what_it_remembers_survives_json_and_what_another_version_wrote_is_forgotten() -> None:
    memory = decide(reading(CROWDED), Memory(samples=((950.0, 1.3, 1.4),))).memory
    assert Memory.of(json.loads(json.dumps(memory.kept()))) == memory
    assert Memory.of({"unknown": 1}) == Memory()


def test_rates_come_from_counters() -> None:
    rates = Rates()
    assert rates.since_last(0.0, 5.0, 100, 1000, 200).asked_tokens_per_s == 0.0
    rate = rates.since_last(10.0, 9.0, 500, 3000, 1200)
    assert (rate.busy, rate.steps_per_s, rate.read_tokens_per_s, rate.asked_tokens_per_s) == (0.4, 40.0, 200.0, 300.0)


def test_a_mean_is_of_what_came_since_it_was_taken_and_keeps_nothing() -> None:
    mean = Mean()
    mean.add(1.0, 2.0)
    mean.add(6.0)
    assert (mean.take(), mean.take()) == (3.0, 0.0)
