"""The embedded Postgres and Valkey, and checks of the user's own."""
