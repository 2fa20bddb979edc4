"""Models that vLLM runs in a Serve replica."""
