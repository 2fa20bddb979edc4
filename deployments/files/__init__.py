"""Files of tenants: what batches read and write."""
