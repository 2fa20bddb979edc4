"""The types of requests and replies, and their description as OpenAPI."""
