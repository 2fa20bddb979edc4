"""Chat completions that were asked for with `store: true`.

store.py       the interface; postgres.py and memory.py implement it
turn.py        the hook in the story of a request: keeps an answer once it is whole
stored.sql     every query, by name
"""
