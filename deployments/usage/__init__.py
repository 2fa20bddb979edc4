"""What each key used, by UTC day and model: merged in memory, written to Postgres in batches.

store.py       the interface; postgres.py and memory.py implement it
writer.py      writes behind the answers, each batch exactly once
"""
