-- name: begin
SELECT begin_response($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18) AS is_there

-- name: end
SELECT end_response($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16) AS is_done

-- name: answered_by
UPDATE responses SET request = request || jsonb_build_object('answered_by', $4::text)
WHERE tenant = $1 AND id = $2 AND runner IS NOT DISTINCT FROM $3 AND status IN ('queued', 'in_progress', 'cancelled')

-- name: continuation
-- Walks from the response's last item towards the root and stops at $3 items or $4 bytes; `beyond` is
-- the item at which it stopped. No row: no such response.
WITH RECURSIVE previous AS (
    SELECT r.conversation_id AS of_conversation, r.status AS of_status, r.leaf_id, c.is_hidden
    FROM responses r JOIN conversations c ON c.id = r.conversation_id
    WHERE r.tenant = $1 AND r.id = $2
), leaf AS (
    SELECT items.* FROM previous JOIN items ON conversation_id = of_conversation AND id = leaf_id
), walk AS (
    SELECT leaf.*, 1 AS depth, (deleted_at IS NULL)::int AS item_count, size_bytes::bigint AS total_bytes FROM leaf
    UNION ALL
    SELECT parent.*, depth + 1, item_count + (parent.deleted_at IS NULL)::int, total_bytes + parent.size_bytes
    FROM walk JOIN items parent ON parent.conversation_id = walk.conversation_id AND parent.id = walk.parent_id
    WHERE item_count < $3 AND total_bytes + parent.size_bytes <= $4
)
SELECT previous.*, walk.*, beyond.id AS beyond_id, beyond.size_bytes AS beyond_bytes
FROM previous
LEFT JOIN walk ON walk.deleted_at IS NULL
LEFT JOIN LATERAL (
    SELECT id, size_bytes FROM items
    WHERE conversation_id = of_conversation AND id = (SELECT parent_id FROM walk ORDER BY depth DESC LIMIT 1)
) beyond ON true
ORDER BY walk.depth DESC

-- name: response
SELECT r.*, c.is_hidden, (
    SELECT coalesce(jsonb_agg(payload ORDER BY seq), '[]') FROM items
    WHERE conversation_id = r.conversation_id AND response_id = r.id AND is_output AND deleted_at IS NULL
) AS output
FROM responses r JOIN conversations c ON c.id = r.conversation_id
WHERE r.tenant = $1 AND r.id = $2

-- name: input_items_asc
-- No row: no such response. found_after false: no such cursor. A row without an id: nothing there.
SELECT $3::text IS NULL OR last.id IS NOT NULL AS found_after, page.* FROM responses r
LEFT JOIN items last ON last.conversation_id = r.conversation_id AND last.id = $3 AND last.response_id = r.id
LEFT JOIN LATERAL (
    SELECT * FROM (
        SELECT *, sum(size_bytes) OVER (ORDER BY seq) AS total_bytes, count(*) OVER () AS found FROM (
            SELECT * FROM items
            WHERE conversation_id = r.conversation_id AND response_id = r.id AND NOT is_output AND deleted_at IS NULL
              AND seq > CASE WHEN $3::text IS NULL THEN 0 ELSE last.seq END
            ORDER BY seq LIMIT $4
        ) listed
    ) weighed WHERE total_bytes <= $5 OR total_bytes = size_bytes
) page ON true
WHERE r.tenant = $1 AND r.id = $2
ORDER BY page.seq

-- name: input_items_desc
SELECT $3::text IS NULL OR last.id IS NOT NULL AS found_after, page.* FROM responses r
LEFT JOIN items last ON last.conversation_id = r.conversation_id AND last.id = $3 AND last.response_id = r.id
LEFT JOIN LATERAL (
    SELECT * FROM (
        SELECT *, sum(size_bytes) OVER (ORDER BY seq DESC) AS total_bytes, count(*) OVER () AS found FROM (
            SELECT * FROM items
            WHERE conversation_id = r.conversation_id AND response_id = r.id AND NOT is_output AND deleted_at IS NULL
              AND seq < CASE WHEN $3::text IS NULL THEN 9223372036854775807 ELSE last.seq END
            ORDER BY seq DESC LIMIT $4
        ) listed
    ) weighed WHERE total_bytes <= $5 OR total_bytes = size_bytes
) page ON true
WHERE r.tenant = $1 AND r.id = $2
ORDER BY page.seq DESC

-- name: items_by_id
-- One row without an id: nothing was found, or it has more than $3 bytes.
WITH found AS (
    SELECT items.* FROM items JOIN conversations c ON c.id = conversation_id
    WHERE items.id = ANY ($2) AND c.tenant = $1 AND deleted_at IS NULL
)
SELECT total_bytes, found.* FROM (SELECT coalesce(sum(size_bytes), 0) AS total_bytes FROM found) AS total
LEFT JOIN found ON total_bytes <= $3

-- name: delete
SELECT delete_response($1, $2) AS is_done

-- name: cancel
UPDATE responses SET status = 'cancelled', completed_at = now()
WHERE tenant = $1 AND id = $2 AND runner IS NOT NULL AND status IN ('queued', 'in_progress')

-- name: show
UPDATE responses SET is_shown = true WHERE tenant = $1 AND id = $2 AND runner IS NOT NULL AND NOT is_shown

-- name: running
-- No row: no such conversation. A row without an id: nothing runs in it.
SELECT r.*, c.is_hidden, '[]' AS output FROM conversations c
LEFT JOIN LATERAL (
    SELECT * FROM (
        SELECT *, row_number() OVER newest AS place, sum(octet_length(request::text)) OVER newest AS total_bytes FROM (
            SELECT * FROM responses
            WHERE conversation_id = c.id AND runner IS NOT NULL AND status IN ('queued', 'in_progress')
            ORDER BY created_at DESC LIMIT $3
        ) listed WINDOW newest AS (ORDER BY created_at DESC ROWS UNBOUNDED PRECEDING)
    ) weighed WHERE total_bytes <= $4 OR place = 1
) r ON true
WHERE c.tenant = $1 AND c.id = $2 AND NOT c.is_hidden
ORDER BY r.created_at DESC

-- name: add_events
WITH batches AS (
    SELECT * FROM unnest($2::text[], $3::int[], $4::bytea[]) AS batch (id, last_number, frames)
), mine AS (
    UPDATE responses SET heartbeat_at = clock_timestamp(), status = 'in_progress'
    WHERE id = ANY ($2) AND runner = $1 AND status IN ('queued', 'in_progress')
    RETURNING id
), added AS (
    INSERT INTO response_events (response_id, last_number, frames)
    SELECT id, last_number, frames FROM mine JOIN batches USING (id) WHERE frames IS NOT NULL
    ON CONFLICT DO NOTHING
)
SELECT id FROM mine

-- name: events
-- No row: no such response. A row without a number: no batch after $3.
SELECT r.runner IS NULL AND r.status NOT IN ('queued', 'in_progress') AS is_over, page.* FROM responses r
LEFT JOIN LATERAL (
    SELECT last_number, frames FROM response_events
    WHERE response_id = r.id AND last_number > $3 ORDER BY last_number LIMIT $4
) page ON true
WHERE r.tenant = $1 AND r.id = $2
ORDER BY page.last_number

-- name: claim
WITH stale AS (
    SELECT id, is_shown AND EXISTS (SELECT FROM response_events WHERE response_id = responses.id) AS was_shown,
           coalesce((SELECT max(last_number) FROM response_events WHERE response_id = responses.id), -1) AS last_number
    FROM responses
    WHERE runner IS NOT NULL AND heartbeat_at < clock_timestamp() - make_interval(secs => $2)
    ORDER BY heartbeat_at LIMIT $3
    FOR UPDATE SKIP LOCKED
), dropped AS (
    DELETE FROM response_events USING stale WHERE response_id = stale.id AND NOT stale.was_shown
), taken AS (
    UPDATE responses SET runner = $1, heartbeat_at = clock_timestamp(), attempts = attempts + 1
    FROM stale WHERE responses.id = stale.id
    RETURNING responses.*, stale.was_shown, stale.last_number
)
SELECT taken.*, c.is_hidden, '[]' AS output FROM taken JOIN conversations c ON c.id = taken.conversation_id

-- name: release
UPDATE responses SET heartbeat_at = '-infinity', attempts = attempts - 1 WHERE runner = $1

-- name: drop_events
DELETE FROM response_events WHERE created_at < now() - make_interval(secs => $1)

-- name: end_abandoned
UPDATE responses SET status = 'failed', error = $2::text::jsonb, completed_at = now()
WHERE runner IS NULL AND status = 'in_progress' AND heartbeat_at < now() - make_interval(secs => $1)
