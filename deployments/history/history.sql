-- name: create_conversation
INSERT INTO conversations (id, tenant, metadata) VALUES ($2, $1, $3::text::jsonb)
RETURNING *

-- name: conversation
SELECT * FROM conversations WHERE tenant = $1 AND id = $2 AND NOT is_hidden

-- name: conversations
SELECT * FROM conversations WHERE tenant = $1 AND NOT is_hidden
ORDER BY updated_at DESC, id DESC LIMIT $2

-- name: conversations_after
-- No row: no such cursor. A row without an id: nothing after it.
SELECT page.* FROM conversations last
LEFT JOIN LATERAL (
    SELECT * FROM conversations c
    WHERE c.tenant = $1 AND NOT c.is_hidden AND (c.updated_at, c.id) < (last.updated_at, last.id)
    ORDER BY c.updated_at DESC, c.id DESC LIMIT $2
) page ON true
WHERE last.tenant = $1 AND last.id = $3 AND NOT last.is_hidden
ORDER BY page.updated_at DESC, page.id DESC

-- name: update_conversation
UPDATE conversations
SET metadata = coalesce($3::text::jsonb, metadata), title = nullif(coalesce($4::text, title), '')
WHERE tenant = $1 AND id = $2 AND NOT is_hidden
    AND ($5::text IS NULL OR metadata = $5::text::jsonb AND title IS NOT DISTINCT FROM $6::text)
RETURNING *

-- name: delete_conversation
DELETE FROM conversations WHERE tenant = $1 AND id = $2 AND NOT is_hidden
RETURNING id

-- name: search
-- found_after false: no such cursor. A row without an id: nothing there.
WITH ranked AS (
    SELECT *, row_number() OVER (ORDER BY score DESC, seq DESC) AS place FROM search_conversations($1, $2, $3)
)
SELECT $4::text IS NULL OR EXISTS (SELECT FROM ranked WHERE conversation_id = $4) AS found_after, page.*
FROM (VALUES (1)) AS one
LEFT JOIN LATERAL (
    SELECT c.*, ranked.item_id, ranked.score, ranked.place, items.role, left(item_text(items.payload), 20000) AS text
    FROM ranked
    JOIN conversations c ON c.id = ranked.conversation_id AND c.tenant = $1
    JOIN items ON items.conversation_id = c.id AND items.id = ranked.item_id
    WHERE place > coalesce((SELECT place FROM ranked WHERE conversation_id = $4), 0)
    ORDER BY place LIMIT $5
) page ON true
ORDER BY page.place

-- name: append
SELECT * FROM append_items($1, $2, $3, $4, $5, $6, $7, $8)

-- name: item
SELECT items.* FROM items JOIN conversations c ON c.id = conversation_id
WHERE c.tenant = $1 AND c.id = $2 AND NOT c.is_hidden AND items.id = $3 AND deleted_at IS NULL

-- name: delete_item
UPDATE items SET payload = '{}', size_bytes = 0, deleted_at = now()
FROM conversations c
WHERE c.tenant = $1 AND c.id = $2 AND NOT c.is_hidden AND conversation_id = c.id AND items.id = $3 AND deleted_at IS NULL
RETURNING items.id

-- name: items_desc
-- A page ends at $4 items or $5 bytes, at least one; `found` counts those before the bytes.
-- No row: no such conversation. found_after false: no such cursor. A row without an id: nothing there.
SELECT $3::text IS NULL OR last.id IS NOT NULL AS found_after, page.* FROM conversations c
LEFT JOIN items last ON last.conversation_id = c.id AND last.id = $3
LEFT JOIN LATERAL (
    SELECT * FROM (
        SELECT *, sum(size_bytes) OVER (ORDER BY seq DESC) AS total_bytes, count(*) OVER () AS found FROM (
            SELECT * FROM items
            WHERE conversation_id = c.id AND deleted_at IS NULL
              AND seq < CASE WHEN $3::text IS NULL THEN 9223372036854775807 ELSE last.seq END
            ORDER BY seq DESC LIMIT $4
        ) listed
    ) weighed WHERE total_bytes <= $5 OR total_bytes = size_bytes
) page ON true
WHERE c.tenant = $1 AND c.id = $2 AND NOT c.is_hidden
ORDER BY page.seq DESC

-- name: items_asc
SELECT $3::text IS NULL OR last.id IS NOT NULL AS found_after, page.* FROM conversations c
LEFT JOIN items last ON last.conversation_id = c.id AND last.id = $3
LEFT JOIN LATERAL (
    SELECT * FROM (
        SELECT *, sum(size_bytes) OVER (ORDER BY seq) AS total_bytes, count(*) OVER () AS found FROM (
            SELECT * FROM items
            WHERE conversation_id = c.id AND deleted_at IS NULL
              AND seq > CASE WHEN $3::text IS NULL THEN 0 ELSE last.seq END
            ORDER BY seq LIMIT $4
        ) listed
    ) weighed WHERE total_bytes <= $5 OR total_bytes = size_bytes
) page ON true
WHERE c.tenant = $1 AND c.id = $2 AND NOT c.is_hidden
ORDER BY page.seq

-- name: context
-- Walks from the leaf towards the root and stops at $4 items or $5 bytes; `beyond` is the item at which it stopped.
-- No row: no such conversation. A row without an id: no such leaf.
WITH RECURSIVE leaf AS (
    (SELECT * FROM items WHERE conversation_id = $2 AND $3::text IS NULL ORDER BY seq DESC LIMIT 1)
    UNION ALL
    SELECT * FROM items WHERE conversation_id = $2 AND id = $3
), walk AS (
    SELECT leaf.*, 1 AS depth, (deleted_at IS NULL)::int AS item_count, size_bytes::bigint AS total_bytes FROM leaf
    UNION ALL
    SELECT parent.*, depth + 1, item_count + (parent.deleted_at IS NULL)::int, total_bytes + parent.size_bytes
    FROM walk JOIN items parent ON parent.conversation_id = $2 AND parent.id = walk.parent_id
    WHERE item_count < $4 AND total_bytes + parent.size_bytes <= $5
)
SELECT walk.*, beyond.id AS beyond_id, beyond.size_bytes AS beyond_bytes FROM conversations c
LEFT JOIN walk ON walk.deleted_at IS NULL OR walk.depth = 1
LEFT JOIN (
    SELECT id, size_bytes FROM items
    WHERE conversation_id = $2 AND id = (SELECT parent_id FROM walk ORDER BY depth DESC LIMIT 1)
) beyond ON true
WHERE c.tenant = $1 AND c.id = $2 AND NOT c.is_hidden
ORDER BY walk.depth DESC

-- name: stored_bytes
SELECT coalesce(sum(bytes), 0)::bigint AS bytes FROM storage WHERE tenant = $1
