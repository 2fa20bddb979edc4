-- name: list
SELECT * FROM adapters ORDER BY model, name

-- name: lock
-- Two changes of one model at a time would each find room for one adapter more.
SELECT pg_advisory_xact_lock(hashtextextended('adapters of ' || $1, 0))

-- name: put
INSERT INTO adapters (model, name, source, sha256, rank, size_bytes)
SELECT $1, $2, $3, $4, $5, $6
WHERE (SELECT count(*) FROM adapters WHERE model = $1 AND name <> $2) < $7
ON CONFLICT (model, name) DO UPDATE SET
    source = excluded.source, sha256 = excluded.sha256, rank = excluded.rank, size_bytes = excluded.size_bytes,
    loaded_at = now()
RETURNING *

-- name: remove
DELETE FROM adapters WHERE model = $1 AND name = $2 RETURNING *
