-- What an operator sets of a key comes as one JSON object. jsonb_populate_record
-- lays it over a row: an absent field keeps the row's value, a null clears it.
-- Users' accounts stand in the same table. They are none of the keys but to `retrieve` by their ids, and only accounts.py
-- creates and changes them.

-- name: create
INSERT INTO api_keys (
    id, hash, last4, tenant, name, is_admin, expires_at, disabled_at,
    requests_per_minute, tokens_per_minute, concurrent_requests, tokens_per_month, storage_bytes,
    open_batches, batch_lines, file_bytes, weight, priority, is_user
)
SELECT $1, $2, $3, $1, name, coalesce(is_admin, false), expires_at, disabled_at,
       requests_per_minute, tokens_per_minute, concurrent_requests, tokens_per_month, storage_bytes,
       open_batches, batch_lines, file_bytes, weight, priority, $5
FROM jsonb_populate_record(null::api_keys, $4::jsonb)
RETURNING *

-- name: list
SELECT * FROM api_keys WHERE NOT is_user ORDER BY created_at, id

-- name: page
SELECT * FROM api_keys
WHERE NOT is_user AND ($1::text IS NULL OR (created_at, id) > (SELECT created_at, id FROM api_keys WHERE id = $1))
ORDER BY created_at, id LIMIT $2

-- name: retrieve
SELECT * FROM api_keys WHERE id = $1 OR (name = $1 AND revoked_at IS NULL AND NOT is_user)

-- name: update
UPDATE api_keys AS k SET (
    name, is_admin, expires_at, disabled_at,
    requests_per_minute, tokens_per_minute, concurrent_requests, tokens_per_month, storage_bytes,
    open_batches, batch_lines, file_bytes, weight, priority
) = (
    SELECT new.name, new.is_admin, new.expires_at, new.disabled_at,
           new.requests_per_minute, new.tokens_per_minute, new.concurrent_requests, new.tokens_per_month, new.storage_bytes,
           new.open_batches, new.batch_lines, new.file_bytes, new.weight, new.priority
    FROM jsonb_populate_record(k, $2::jsonb) AS new
)
WHERE (id = $1 OR (name = $1 AND NOT is_user)) AND revoked_at IS NULL AND is_user = $3
RETURNING *

-- name: revoke
UPDATE api_keys SET revoked_at = coalesce(revoked_at, now())
WHERE (id = $1 OR (name = $1 AND revoked_at IS NULL)) AND NOT is_user
RETURNING *

-- name: names
SELECT id, name FROM api_keys WHERE id = ANY ($1::text[])

-- name: find
SELECT * FROM api_keys WHERE hash = $1
