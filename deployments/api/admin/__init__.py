"""`/v1/admin/…`: for administrators' keys only, one module per resource."""
