"""The command line `chatllm`: commands.py has the commands of the service itself, the other modules one group each."""

from deployments.local.cli.commands import app, main

__all__ = ["app", "main"]
