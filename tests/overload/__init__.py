"""The queue in front of one H100, far past its capacity: `python -m tests.overload`."""
