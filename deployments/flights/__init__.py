"""Identical requests in flight, over all ingress replicas, are one generation.

    flight.py        one generation, and everybody who reads it
    flights.py       those of this replica: joined here, or where another one generates
    neighbours.py    flights of other replicas, and one's own for them
    continuation.py  going on with an answer whose generating was lost
    renaming.py      the id under which each reader gets the answer

    request ── a miss ──▶ Flights.board ──┬─ flies here: read it
                                          ├─ flies elsewhere: a flight here that reads it there
                                          └─ flies nowhere: generate

Who generates holds a claim in Redis (cache/claims.py), which the look-up makes in
the same call; it lapses 5 s after its replica was last seen. With Redis away, each
replica generates for its own requests.
"""
