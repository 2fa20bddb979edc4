"""What the domains build on: stores, transport, Ray, logging, threads. It does not know the domains."""
