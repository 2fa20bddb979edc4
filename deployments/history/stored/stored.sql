-- name: append
INSERT INTO stored_completions (tenant, id, model, metadata, completion, messages)
SELECT $1, new.id, new.model, new.metadata::jsonb, new.completion::jsonb, new.messages::jsonb
FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[])
    AS new (id, model, metadata, completion, messages)
ON CONFLICT DO NOTHING

-- name: asc
-- No row: no such cursor. A row without an id: nothing there.
SELECT page.* FROM (SELECT 0 AS seq WHERE $4::text IS NULL
                    UNION ALL SELECT seq FROM stored_completions WHERE tenant = $1 AND id = $4) last
LEFT JOIN LATERAL (
    SELECT * FROM (
        SELECT *, row_number() OVER listing AS place, sum(octet_length(completion::text)) OVER listing AS total_bytes,
               count(*) OVER () AS found FROM (
            SELECT id, seq, metadata, completion FROM stored_completions
            WHERE tenant = $1 AND seq > last.seq
              AND ($2::text IS NULL OR model = $2) AND ($3::text IS NULL OR metadata @> $3::text::jsonb)
            ORDER BY seq LIMIT $5
        ) listed WINDOW listing AS (ORDER BY seq)
    ) weighed WHERE total_bytes <= $6 OR place = 1
) page ON true
ORDER BY page.seq

-- name: desc
SELECT page.* FROM (SELECT 9223372036854775807 AS seq WHERE $4::text IS NULL
                    UNION ALL SELECT seq FROM stored_completions WHERE tenant = $1 AND id = $4) last
LEFT JOIN LATERAL (
    SELECT * FROM (
        SELECT *, row_number() OVER listing AS place, sum(octet_length(completion::text)) OVER listing AS total_bytes,
               count(*) OVER () AS found FROM (
            SELECT id, seq, metadata, completion FROM stored_completions
            WHERE tenant = $1 AND seq < last.seq
              AND ($2::text IS NULL OR model = $2) AND ($3::text IS NULL OR metadata @> $3::text::jsonb)
            ORDER BY seq DESC LIMIT $5
        ) listed WINDOW listing AS (ORDER BY seq DESC)
    ) weighed WHERE total_bytes <= $6 OR place = 1
) page ON true
ORDER BY page.seq DESC

-- name: one
SELECT id, metadata, completion FROM stored_completions WHERE tenant = $1 AND id = $2

-- name: update_metadata
UPDATE stored_completions SET metadata = $3::text::jsonb WHERE tenant = $1 AND id = $2
RETURNING id, metadata, completion

-- name: delete
DELETE FROM stored_completions WHERE tenant = $1 AND id = $2 RETURNING id

-- name: messages
-- $4 is 1 for ascending, -1 for descending. No row: no such completion. A row without a position: nothing there.
SELECT page.* FROM stored_completions
LEFT JOIN LATERAL (
    SELECT * FROM (
        SELECT *, row_number() OVER listing AS place, sum(octet_length(message::text)) OVER listing AS total_bytes,
               count(*) OVER () AS found FROM (
            SELECT message, position - 1 AS position
            FROM jsonb_array_elements(messages) WITH ORDINALITY AS each (message, position)
            WHERE $3::bigint IS NULL OR (position - 1) * $4::bigint > $3 * $4
            ORDER BY position * $4 LIMIT $5
        ) listed WINDOW listing AS (ORDER BY position * $4)
    ) weighed WHERE total_bytes <= $6 OR place = 1
) page ON true
WHERE tenant = $1 AND id = $2
ORDER BY page.position * $4
