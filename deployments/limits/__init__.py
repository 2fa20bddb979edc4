"""What a key may use: requests and tokens per minute, requests at once, tokens per month.

    limiter.py     decides, in one call to Redis; by this replica's memory where Redis is away
    attempts.py    calls of Redis, left out while it fails
    blocks.py      what a replica takes of a busy key's limits at once
    store.py       the interface; remote.py (Redis, *.lua) and memory.py hold the same algorithm
    headers.py     what a client is told: headers and refusals
    estimate.py    what a request may cost, before anyone knows: sequences and tokens

Requests and tokens are buckets: full at first, filled continuously. A request
takes its estimate when it is admitted, and what it really used when it has ended.
"""
