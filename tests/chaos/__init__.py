"""Random faults under load, and what must hold afterwards: `python -m tests.chaos`."""
