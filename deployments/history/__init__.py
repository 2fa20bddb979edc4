"""Durable conversations: append-only in Postgres, written behind the answer.

database.py    the pool that all stores of a process share, and the migrations
store.py       the interface; postgres.py and memory.py implement it
writer.py      writes behind the answer, in order, exactly once
stored/        chat completions that were asked for with `store: true`
*.sql          every query, by name; migrations/ holds the schema
"""
