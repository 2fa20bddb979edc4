"""Ray's and Serve's interfaces that are private, unstable, or need care, one module each."""
