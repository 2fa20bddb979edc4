"""API keys: made once, stored as a hash, checked from memory."""
