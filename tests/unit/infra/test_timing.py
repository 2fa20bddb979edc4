"""Where a request's time goes, by hops that add up."""

import re
import time

from deployments.infra.timing import EngineTimes, Timing


def test_hops_are_the_whole_and_do_not_overlap():
    timing = Timing()
    for hop in ("auth", "history", "cache", "history"):
        time.sleep(0.01)
        timing.mark(hop)
    took_s = time.perf_counter() - timing.began
    assert list(timing.hops_s) == ["auth", "history", "cache"]
    assert 0 <= took_s - sum(timing.hops_s.values()) < 0.0099  # each hop takes more
    assert timing.hops_s["auth"] >= 0.01 and timing.hops_s["history"] >= 0.02, "twice"


def test_what_the_engine_knows_is_taken_out_of_the_wait():
    timing = Timing()
    time.sleep(0.02)
    timing.mark("first-frame")
    before = sum(timing.hops_s.values())
    timing.record_engine_times("first-frame", EngineTimes(0.002, 0.004, 0.006))
    assert {part: timing.hops_s[part] for part in ("queue", "prefill", "decode")} == {
        "queue": 0.002,
        "prefill": 0.004,
        "decode": 0.006,
    }
    assert abs(sum(timing.hops_s.values()) - before) < 1e-9


def test_the_decoding_of_a_stream_is_what_was_seen_of_it():
    timing = Timing()
    timing.mark("first-frame")
    time.sleep(0.01)
    timing.mark("decode")
    decode_s = timing.hops_s["decode"]
    timing.record_engine_times("first-frame", EngineTimes(0.0, 0.0, 5.0))
    assert timing.hops_s["decode"] == decode_s


def test_who_joined_late_did_not_wait_for_all_that_the_engine_did():
    timing = Timing()
    time.sleep(0.005)
    timing.mark("first-frame")
    before = timing.hops_s["first-frame"]
    timing.record_engine_times("first-frame", EngineTimes(1.0, 2.0, 3.0))
    assert timing.hops_s == {"first-frame": 0.0, "queue": before, "prefill": 0.0, "decode": 0.0}


def test_an_engine_that_tells_nothing_changes_nothing():
    timing = Timing()
    timing.mark("first-frame")
    timing.record_engine_times("first-frame", None)
    assert list(timing.hops_s) == ["first-frame"]


def test_the_header_is_as_w3c_has_it_and_tells_the_total():
    timing = Timing()
    timing.hops_s.update({"auth": 0.00125, "first-frame": 0.1})
    assert timing.header() == "auth;dur=1.25, first-frame;dur=100.00, total;dur=101.25"
    assert timing.line() == "auth=1.25,first-frame=100.00"
    assert re.fullmatch(rb": server-timing auth;dur=1\.25, [^\n]*send;dur=[^\n]*\n\n", timing.trailer())
