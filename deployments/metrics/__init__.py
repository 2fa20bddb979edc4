"""The service's own figures of the last hour, over all ingress replicas, for `GET /v1/admin/metrics`.

    recorder.py   what this replica has seen: a ring of five-second buckets, of fixed size
    buckets.py    one of them: counts by model
    histogram.py  durations in exponential steps, and their quantiles
    faults.py     the last errors
    store.py      where replicas leave their figures for each other: Redis (remote.py), or memory.py
    sharing.py    publishes this replica's behind the requests, and adds up all that are there
    report.py     the adding up

A request costs some microseconds of this process and no I/O. Prometheus, which gets its
figures from `telemetry.py`, is the tool for longer times.
"""
