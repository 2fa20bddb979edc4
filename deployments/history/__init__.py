"""Durable conversations: append-only in Postgres, written behind the answer.

store.py       the interface; postgres.py and memory.py implement it
writer.py      writes behind the answer, in order, exactly once
shares/        what a share shows of a conversation
stored/        chat completions that were created with `store: true`
*.sql          every query, by name; infra/postgres/migrations/ holds the schema
"""
