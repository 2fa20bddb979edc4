"""Is a cluster fit for the service? What each node tells (probe.py), gathered by Ray (survey.py), judged (judge.py)."""
