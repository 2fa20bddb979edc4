-- A session has expired when it has not been used for a week (IDLE in types.py), or has lasted for a month (LIFETIME).

-- name: create
INSERT INTO users (id, username, password_hash, must_change_password) VALUES ($1, $2, $3, $4)

-- name: page
SELECT k.*, u.username, u.must_change_password FROM users u JOIN api_keys k USING (id)
WHERE $1::text IS NULL OR (k.created_at, k.id) > (SELECT created_at, id FROM api_keys WHERE id = $1)
ORDER BY k.created_at, k.id LIMIT $2

-- name: retrieve
SELECT k.*, u.username, u.must_change_password FROM users u JOIN api_keys k USING (id) WHERE u.id = $1

-- name: update
UPDATE users AS u SET (username, password_hash, must_change_password) = (
    SELECT new.username, new.password_hash, new.must_change_password FROM jsonb_populate_record(u, $2::jsonb) AS new
)
WHERE id = $1
RETURNING *

-- name: change_password
UPDATE users SET password_hash = $3, must_change_password = false WHERE id = $1 AND password_hash = $2 RETURNING id

-- name: password
SELECT k.*, u.username, u.must_change_password, u.password_hash FROM users u JOIN api_keys k USING (id)
WHERE u.username = $1

-- name: begin_session
WITH ended AS (
    DELETE FROM sessions WHERE id IN (
        SELECT id FROM sessions WHERE key_id = $3 ORDER BY used_at DESC, id OFFSET $8 - 1
    )
)
INSERT INTO sessions (id, hash, key_id, device, created_at, used_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7)

-- name: sessions
SELECT * FROM sessions WHERE key_id = $1 AND expires_at > now() AND used_at > now() - $2::interval
ORDER BY created_at DESC, id

-- name: session
SELECT * FROM sessions WHERE hash = $1

-- name: end_session
DELETE FROM sessions WHERE key_id = $1 AND id = $2 RETURNING id

-- name: end_sessions
DELETE FROM sessions WHERE key_id = $1 AND id IS DISTINCT FROM $2

-- name: find
WITH found AS (
    SELECT id, key_id, least(expires_at, used_at + $2::interval) AS until, used_at FROM sessions WHERE hash = $1
), used AS (
    UPDATE sessions s SET used_at = now() FROM found
    WHERE s.id = found.id AND found.until > now() AND found.used_at < now() - interval '1 minute'
)
SELECT k.*, found.until FROM found JOIN api_keys k ON k.id = found.key_id

-- name: sweep
DELETE FROM sessions WHERE id IN (
    SELECT id FROM sessions WHERE expires_at < now() OR used_at < now() - $1::interval LIMIT 1000
)
