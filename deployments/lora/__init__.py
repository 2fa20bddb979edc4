"""LoRA adapters that are loaded and unloaded while the service runs.

An administrator names a folder or a repository (`api/admin/adapters.py`). A replica of the model finds and checks
the files (`files.py`) and loads them; Postgres keeps what is loaded (`store.py`). Each ingress replica reads that
every second (`registry.py`), and sends each request for an adapter with what it must be answered by: a name
and the hash of the weights. A replica that does not hold them loads them first, so that a new one, or one that
has missed a message, needs nobody to tell it.
"""
