"""`chatllm`: the whole service on one machine."""
