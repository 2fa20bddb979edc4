"""HTTP: `server.py` is the application, `routes/` has one module per resource."""
