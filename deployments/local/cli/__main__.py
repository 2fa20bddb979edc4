"""Runs `python -m deployments.local.cli` as `chatllm`."""

from deployments.local.cli.commands import main

main()
