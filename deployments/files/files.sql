-- name: begin
INSERT INTO files (id, tenant, filename, purpose, created_at, expires_at, place) VALUES ($1, $2, $3, $4, $5, $6, $7)

-- name: append
WITH grown AS (
    UPDATE files SET bytes = bytes + octet_length($4::bytea)
    WHERE id = $2 AND tenant = $1 AND NOT is_whole
    RETURNING id
)
INSERT INTO file_chunks (file_id, number, data) SELECT id, $3, $4 FROM grown
RETURNING file_id

-- name: place
SELECT place FROM files WHERE id = $2 AND tenant = $1 AND NOT is_whole

-- name: grow
UPDATE files SET bytes = bytes + $3 WHERE id = $2 AND tenant = $1 AND NOT is_whole RETURNING id

-- name: finish
UPDATE files SET is_whole = true, filename = $3, purpose = $4, expires_at = $5
WHERE id = $2 AND tenant = $1
RETURNING *

-- name: file
SELECT * FROM files
WHERE tenant = $1 AND id = $2 AND is_whole AND (expires_at IS NULL OR expires_at > now())

-- name: asc
-- No row: no such cursor. A row without an id: nothing there.
SELECT page.* FROM (SELECT '-infinity'::timestamptz AS created_at, '' AS id WHERE $2::text IS NULL
                    UNION ALL SELECT created_at, id FROM files WHERE tenant = $1 AND id = $2) last
LEFT JOIN LATERAL (
    SELECT * FROM files
    WHERE tenant = $1 AND (created_at, id) > (last.created_at, last.id) AND is_whole
      AND (expires_at IS NULL OR expires_at > now()) AND ($3::text IS NULL OR purpose = $3)
    ORDER BY created_at, id LIMIT $4
) page ON true
ORDER BY page.created_at, page.id

-- name: desc
SELECT page.* FROM (SELECT 'infinity'::timestamptz AS created_at, '' AS id WHERE $2::text IS NULL
                    UNION ALL SELECT created_at, id FROM files WHERE tenant = $1 AND id = $2) last
LEFT JOIN LATERAL (
    SELECT * FROM files
    WHERE tenant = $1 AND (created_at, id) < (last.created_at, last.id) AND is_whole
      AND (expires_at IS NULL OR expires_at > now()) AND ($3::text IS NULL OR purpose = $3)
    ORDER BY created_at DESC, id DESC LIMIT $4
) page ON true
ORDER BY page.created_at DESC, page.id DESC

-- name: chunk
-- No row: no such file. A row without data: past its end.
SELECT c.data, f.place, f.bytes FROM files f LEFT JOIN file_chunks c ON c.file_id = f.id AND c.number = $3
WHERE f.tenant = $1 AND f.id = $2 AND f.is_whole AND (f.expires_at IS NULL OR f.expires_at > now())

-- name: delete
DELETE FROM files WHERE tenant = $1 AND id = $2 RETURNING place

-- name: discard
DELETE FROM files WHERE tenant = $1 AND id = $2 AND NOT is_whole RETURNING place

-- name: removals
SELECT place FROM file_removals WHERE gone_at < now() - make_interval(secs => $1) ORDER BY gone_at LIMIT 100

-- name: postpone_removal
UPDATE file_removals SET gone_at = now() WHERE place = $1

-- name: removed
DELETE FROM file_removals WHERE place = $1

-- name: used
SELECT coalesce(sum(bytes), 0)::bigint AS bytes, count(*) AS files FROM files WHERE tenant = $1

-- name: sweep
-- As many as have so many bytes together, and one at least: a statement may not take long.
DELETE FROM files WHERE id IN (
    SELECT id FROM (
        SELECT id, sum(bytes) OVER (ORDER BY id) AS upto, row_number() OVER (ORDER BY id) AS place FROM (
            SELECT id, bytes FROM files
            WHERE (is_whole AND expires_at < now()) OR (NOT is_whole AND created_at < now() - make_interval(secs => $1))
            LIMIT 100 FOR UPDATE SKIP LOCKED
        ) old
    ) weighed WHERE place = 1 OR upto <= $2
)
RETURNING id
