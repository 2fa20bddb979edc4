"""The response cache: deterministic requests are answered once.

    key.py              what may be cached, and under which name (pure functions)
    entry.py            a stored answer and its safe encoding
    replay.py           a stored answer made fresh, streamed or plain
    store.py            Redis or Valkey, and the same in memory
    claims.py           who generates an answer right now
    purging.py          answers that can be taken back at once
    hot.py              answers in an ingress replica's memory, while nothing was purged
    lookup.py           the Serve deployment beside Redis
    client.py           what an ingress replica holds: gathers, remembers, never waits long
    remote.py           the call between the two, by a Serve handle
    lookup_client.py    look-ups over connections of their own; lookup_server.py is the other end
    wire.py             how they cross
    gathering.py        many look-ups in one call
    writing.py          storing in the background
    expiring.py         a bounded map whose entries expire
    langchain_store.py  the same store as LangChain's global cache
    loop_thread.py      an event loop in a thread of its own
    similar/            any LangChain cache as a second one, for similar questions; off by default

    ingress ── CacheClient ── one message for many keys ──▶ CacheLookup ── MGET ──▶ Redis

Whatever fails on the way is a counted miss, at the latest after
`cache.lookup_timeout_s`; no exception of this package reaches a request.
"""
