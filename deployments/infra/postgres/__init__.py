"""Postgres: the pool of connections, migrations, named queries, and the translation of errors."""
