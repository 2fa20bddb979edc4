"""Redis and Valkey: from an address to a client, and the translation of errors."""
