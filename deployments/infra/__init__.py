"""What the domains stand on: stores, transport, Ray, logging, threads. It knows no domain."""
