"""A simulation of vLLM replicas behind Serve's autoscaler, in seconds for hours: engine, traces, service, comparison.

`python -m tests.scaling` prints the tables of docs/explanation/autoscaling.md.
"""
