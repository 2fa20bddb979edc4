"""The chat page as a part of the local service."""
