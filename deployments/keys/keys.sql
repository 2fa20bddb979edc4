-- name: create
INSERT INTO api_keys (id, name, hash, last4, tenant) VALUES ($1, $2, $3, $4, $1)
RETURNING *

-- name: list
SELECT * FROM api_keys ORDER BY created_at, id

-- name: revoke
UPDATE api_keys SET revoked_at = coalesce(revoked_at, now())
WHERE id = $1 OR (name = $1 AND revoked_at IS NULL)
RETURNING *

-- name: find
SELECT * FROM api_keys WHERE hash = $1
