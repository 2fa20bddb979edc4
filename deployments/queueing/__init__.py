"""The order in which requests reach a model's engines, and what those that wait or are refused are told.

    job.py        one request, as the queue sees it
    order.py      whose turn it is: deficit round robin between keys
    capacity.py   who may start now, by what is free
    drain.py      how fast the queue drains
    promises.py   when a refused request finds room
    queue.py      all of it together; pure, with the time passed in
    gate.py       the same for asyncio: one context manager around a call of a model
    shares.py     what of a model's capacity is this ingress replica's; remote.py (Redis, shares.lua)

The engine gets what keeps it full and no more, so that the order is decided here and not in the engine's own queue.
Tokens are what is shared: those of the prompt, and twice those of the answer (Sheng et al., "Fairness in Serving Large
Language Models", OSDI 2024).
"""
