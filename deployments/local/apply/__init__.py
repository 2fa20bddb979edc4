"""Changing the running service: what would happen, doing it, and taking it back where it fails."""
