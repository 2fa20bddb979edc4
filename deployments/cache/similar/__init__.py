"""A LangChain cache that the operator plugs in: asked for an answer to a similar question where nothing is stored.

client.py    the ingress's side: the same question once, in time, never an exception
answers.py       the side beside the cache: what may be asked and taught, and what of the answer may be believed
plugged.py       the foreign code at arm's length: a thread of its own, deadlines, breakers
prompt.py      a request in LangChain's terms
generations.py   an answer in LangChain's terms, and back
semantic.py      a cache to plug in: embeddings from a model, compared in memory (vectors.py)

It is asked after the exact store, never before it and never in its place: an exact
answer costs less and cannot be wrong. What it finds is stored nowhere else, so that it
never passes for an exact answer later.
"""
