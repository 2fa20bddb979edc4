"""The story of an answer: looked up, joined, or generated; owned by one object while it is generated.

    generation.py    one answer while it is generated, and everybody who reads it
    coalescing.py    identical requests in flight share one generation, over all ingress replicas
    peers.py         generations of other ingress replicas, and this one's for them
    continuation.py  going on with an answer whose generation was lost
    renaming.py      the id under which each subscriber gets the answer
    cost.py          what a key pays: the generation that its request began, to its end
    lookup.py        where an answer comes from: the cache, a generation in flight, a new one

    model replica ──TCP──▶ Generation.put ──▶ its one buffer ──▶ Subscription (a client's stream)
                                                             ├─▶ Subscription (a client that joined)
                                                             ├─▶ Subscription (another ingress replica)
                                                             └─▶ on_reply (the cache)

Whoever generates holds a lease in Redis (cache/claims.py), which the cache look-up acquires in the same
call; it expires 5 s after its replica was last seen. With Redis away, each replica generates for its own
requests.
"""
