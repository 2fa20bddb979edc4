"""Who gets how much of this machine's memory."""
