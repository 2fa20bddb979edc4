"""Shared conversations: the dialog that creates links, and the page that a link opens."""
