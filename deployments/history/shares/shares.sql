-- name: create
-- No row: no such conversation. A row without `until`: no such item. One without an id: too many.
WITH forgotten AS (
    DELETE FROM shares s USING conversations c
    WHERE c.id = s.conversation_id AND c.tenant = $1 AND c.id = $2 AND s.expires_at <= now()
), found AS (
    SELECT c.id AS conversation_id, c.title, item.id AS until,
           (SELECT count(*) FROM shares s
            WHERE s.conversation_id = c.id AND (s.expires_at IS NULL OR s.expires_at > now())) AS others
    FROM conversations c
    LEFT JOIN LATERAL (
        SELECT items.id FROM items
        WHERE items.conversation_id = c.id AND ($5::text IS NULL OR items.id = $5) AND deleted_at IS NULL
        ORDER BY seq DESC LIMIT 1
    ) item ON true
    WHERE c.tenant = $1 AND c.id = $2 AND NOT c.is_hidden
), made AS (
    INSERT INTO shares (id, conversation_id, token_hash, until, title, expires_at)
    SELECT $3, conversation_id, $4, until, title, $6 FROM found WHERE until IS NOT NULL AND others < $7
    RETURNING id, created_at, expires_at
)
SELECT found.conversation_id, found.title, found.until, made.* FROM found LEFT JOIN made ON true

-- name: list
-- No row: no such conversation. A row without an id: nothing there.
SELECT s.* FROM conversations c
LEFT JOIN shares s ON s.conversation_id = c.id AND (s.expires_at IS NULL OR s.expires_at > now())
WHERE c.tenant = $1 AND c.id = $2 AND NOT c.is_hidden
ORDER BY s.created_at DESC, s.id

-- name: revoke
DELETE FROM shares s USING conversations c
WHERE c.id = s.conversation_id AND c.tenant = $1 AND c.id = $2 AND NOT c.is_hidden AND s.id = $3
RETURNING s.id

-- name: read
-- No row: no such share. A row without a payload: nothing to show.
WITH RECURSIVE share AS (
    SELECT s.* FROM shares s JOIN conversations c ON c.id = s.conversation_id AND NOT c.is_hidden
    WHERE s.token_hash = $1 AND (s.expires_at IS NULL OR s.expires_at > now())
      AND NOT EXISTS (
          SELECT FROM api_keys k
          WHERE k.tenant = c.tenant
            AND (k.revoked_at IS NOT NULL OR k.disabled_at IS NOT NULL OR k.expires_at <= now())
      )
), walk AS (
    SELECT items.*, 1 AS depth, items.size_bytes::bigint AS total_bytes
    FROM share JOIN items ON items.conversation_id = share.conversation_id AND items.id = share.until
    UNION ALL
    SELECT parent.*, depth + 1, total_bytes + parent.size_bytes
    FROM walk JOIN items parent ON parent.conversation_id = walk.conversation_id AND parent.id = walk.parent_id
    WHERE depth < $2 AND total_bytes + parent.size_bytes <= $3
)
SELECT share.title, share.created_at, walk.payload,
       (SELECT parent_id IS NOT NULL FROM walk ORDER BY depth DESC LIMIT 1) AS is_cut
FROM share
LEFT JOIN walk ON walk.deleted_at IS NULL AND walk.type = 'message' AND walk.role IN ('user', 'assistant')
ORDER BY walk.depth DESC
