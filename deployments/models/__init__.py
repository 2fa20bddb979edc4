"""Models: what a replica must answer (`protocol.py`), the kinds of replicas, and their client."""
