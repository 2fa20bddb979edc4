-- name: lock
-- Of creations by one tenant until the transaction ends: the next one counts what this one adds.
SELECT pg_advisory_xact_lock(hashtextextended('batches of ' || $1, 0))

-- name: create
INSERT INTO batches (
    id, tenant, key_id, endpoint, input_file_id, metadata, output_ttl_s, status, created_at, expires_at, max_lines
)
SELECT $1, $2, $3, $4, $5, $6::text::jsonb, $7, 'validating', $8, $9, $10
WHERE $11::bigint IS NULL OR (SELECT count(*) FROM batches
       WHERE tenant = $2 AND status IN ('validating', 'in_progress', 'finalizing', 'cancelling')) < $11
   OR EXISTS (SELECT FROM batches WHERE id = $1)
ON CONFLICT (id) DO UPDATE SET id = excluded.id
RETURNING id

-- name: batch
SELECT * FROM batches WHERE tenant = $1 AND id = $2

-- name: batches
-- No row: no such cursor. A row without an id: nothing there.
SELECT page.* FROM (SELECT 'infinity'::timestamptz AS created_at, '' AS id WHERE $2::text IS NULL
                    UNION ALL SELECT created_at, id FROM batches WHERE tenant = $1 AND id = $2) last
LEFT JOIN LATERAL (
    SELECT * FROM batches WHERE tenant = $1 AND (created_at, id) < (last.created_at, last.id)
    ORDER BY created_at DESC, id DESC LIMIT $3
) page ON true
ORDER BY page.created_at DESC, page.id DESC

-- name: cancel
-- The lease ends, so that what is being validated is left to the next who looks.
UPDATE batches SET status = 'cancelling', cancelling_at = now(), lease_until = '-infinity'
WHERE tenant = $1 AND id = $2 AND status IN ('validating', 'in_progress')

-- name: take
-- One that is to be validated comes behind those of tenants that have fewer under way, whose inputs may be small.
UPDATE batches SET
    runner = $1, fence = fence + 1, lease_until = now() + make_interval(secs => $2),
    status = CASE status WHEN 'in_progress' THEN 'finalizing' ELSE status END,
    finalizing_at = CASE status WHEN 'in_progress' THEN now() ELSE finalizing_at END,
    expired_at = CASE WHEN status = 'in_progress' AND EXISTS (
        SELECT FROM batch_lines l WHERE l.batch_id = batches.id AND l.is_open
    ) THEN now() ELSE expired_at END
WHERE id = (
    SELECT id FROM batches b
    WHERE status IN ('validating', 'in_progress', 'finalizing', 'cancelling') AND lease_until < now()
      AND (status <> 'in_progress' OR expires_at < now() OR NOT EXISTS (
          SELECT FROM batch_lines l WHERE l.batch_id = b.id AND l.is_open
      ))
    ORDER BY CASE status WHEN 'validating' THEN (
        SELECT count(*) FROM batches o WHERE o.tenant = b.tenant AND o.status IN ('in_progress', 'finalizing')
    ) ELSE 0 END, created_at LIMIT 1 FOR UPDATE SKIP LOCKED
)
RETURNING *

-- name: add_lines
WITH mine AS (
    UPDATE batches SET lease_until = now() + make_interval(secs => $3)
    WHERE id = $1 AND fence = $2 AND status = 'validating' RETURNING id
), added AS (
    INSERT INTO batch_lines (batch_id, number, custom_id, body)
    SELECT mine.id, new.number, new.custom_id, new.body
    FROM mine, unnest($4::integer[], $5::text[], $6::bytea[]) AS new (number, custom_id, body)
    ON CONFLICT DO NOTHING
)
SELECT id FROM mine

-- name: start
UPDATE batches SET status = 'in_progress', in_progress_at = now(), total = $3, model = $4, lease_until = '-infinity'
WHERE id = $1 AND fence = $2 AND status = 'validating' RETURNING id

-- name: fail
UPDATE batches SET status = 'failed', failed_at = now(), errors = $3::text::jsonb
WHERE id = $1 AND fence = $2 AND status = 'validating' RETURNING id

-- name: claim
-- The tenants with the fewest lines under way come first, and among their lines the first of the oldest batches:
-- `place` is how many lines a tenant would have under way with this one.
WITH open AS (
    SELECT b.id, b.tenant, b.created_at, (
        SELECT count(*) FROM batch_lines r WHERE r.batch_id = b.id AND r.is_open AND r.runner IS NOT NULL
    ) AS running
    FROM batches b WHERE b.status = 'in_progress' AND b.expires_at > now() AND b.id <> ALL ($4::text[])
), chosen AS (
    SELECT *, sum(running) OVER (PARTITION BY tenant) AS of_tenant FROM open ORDER BY of_tenant, created_at LIMIT 16
), free AS (
    SELECT chosen.tenant, chosen.of_tenant, chosen.created_at, line.batch_id, line.number
    FROM chosen CROSS JOIN LATERAL (
        SELECT batch_id, number FROM batch_lines
        WHERE batch_id = chosen.id AND is_open AND lease_until < now()
        ORDER BY number LIMIT $2 FOR UPDATE SKIP LOCKED
    ) line
), placed AS (
    SELECT batch_id, number, of_tenant + row_number() OVER (PARTITION BY tenant ORDER BY created_at, number) AS place
    FROM free
), first AS (
    SELECT batch_id, number FROM placed ORDER BY place LIMIT $2
)
UPDATE batch_lines l SET
    runner = $1, fence = l.fence + 1, attempts = l.attempts + 1, lease_until = now() + make_interval(secs => $3)
FROM first, batches b
WHERE l.batch_id = first.batch_id AND l.number = first.number AND b.id = l.batch_id AND l.is_open
RETURNING l.batch_id, l.number, l.fence, b.tenant, b.key_id, b.endpoint, l.custom_id, l.body, l.attempts

-- name: renew
UPDATE batch_lines l SET lease_until = now() + make_interval(secs => $2)
FROM unnest($3::text[], $4::integer[], $5::bigint[]) AS mine (batch_id, number, fence), batches b
WHERE l.batch_id = mine.batch_id AND l.number = mine.number AND l.fence = mine.fence AND l.runner = $1 AND l.is_open
  AND b.id = l.batch_id AND b.status = 'in_progress'
RETURNING l.batch_id, l.number, l.fence

-- name: give_back
UPDATE batch_lines l SET
    runner = NULL, lease_until = now() + make_interval(secs => $2), attempts = l.attempts - 1 + $3::integer
FROM unnest($4::text[], $5::integer[], $6::bigint[]) AS mine (batch_id, number, fence)
WHERE l.batch_id = mine.batch_id AND l.number = mine.number AND l.fence = mine.fence AND l.runner = $1 AND l.is_open

-- name: give_back_others
UPDATE batch_lines l SET runner = NULL, lease_until = '-infinity', attempts = l.attempts - 1
WHERE l.is_open AND l.runner = $1 AND NOT EXISTS (
    SELECT FROM unnest($2::text[], $3::integer[], $4::bigint[]) AS held (batch_id, number, fence)
    WHERE held.batch_id = l.batch_id AND held.number = l.number AND held.fence = l.fence
)

-- name: settle
WITH given AS (
    SELECT * FROM unnest(
        $2::text[], $3::integer[], $4::bigint[], $5::bytea[], $6::boolean[],
        $7::bigint[], $8::bigint[], $9::bigint[], $10::bigint[]
    ) AS given (batch_id, number, fence, outcome, is_error, input, cached, output, reasoning)
), written AS (
    UPDATE batch_lines l SET is_open = false, outcome = given.outcome, is_error = given.is_error, body = NULL
    FROM given
    WHERE l.batch_id = given.batch_id AND l.number = given.number AND l.fence = given.fence AND l.runner = $1 AND l.is_open
    RETURNING l.batch_id, l.number, l.fence, given.is_error, given.input, given.cached, given.output, given.reasoning
), counted AS (
    UPDATE batches b SET
        completed = b.completed + sums.completed, failed = b.failed + sums.failed,
        input_tokens = b.input_tokens + sums.input, cached_tokens = b.cached_tokens + sums.cached,
        output_tokens = b.output_tokens + sums.output, reasoning_tokens = b.reasoning_tokens + sums.reasoning
    FROM (
        SELECT batch_id, count(*) FILTER (WHERE NOT is_error) AS completed, count(*) FILTER (WHERE is_error) AS failed,
               sum(input) AS input, sum(cached) AS cached, sum(output) AS output, sum(reasoning) AS reasoning
        FROM written GROUP BY batch_id
    ) sums WHERE b.id = sums.batch_id
)
SELECT batch_id, number, fence FROM written

-- name: close_lines
-- A page of them: all at once can take longer than a statement may. The batch is not locked, since `settle` locks lines
-- before it.
WITH page AS (
    SELECT number FROM batch_lines
    WHERE batch_id = $1 AND is_open AND EXISTS (SELECT FROM batches WHERE id = $1 AND fence = $2)
    ORDER BY number LIMIT $3 FOR UPDATE
)
UPDATE batch_lines l SET is_open = false, body = NULL FROM page
WHERE l.batch_id = $1 AND l.number = page.number
RETURNING l.number

-- name: done_lines
SELECT number, custom_id, outcome, is_error FROM (
    SELECT *, sum(coalesce(octet_length(outcome), 0)) OVER (ORDER BY number) AS bytes, row_number() OVER (ORDER BY number) AS place
    FROM (
        SELECT number, custom_id, outcome, is_error FROM batch_lines
        WHERE batch_id = $1 AND number > $2 ORDER BY number LIMIT $3
    ) page
) weighed WHERE bytes <= $4 OR place = 1 ORDER BY number

-- name: renew_batch
UPDATE batches SET lease_until = now() + make_interval(secs => $3) WHERE id = $1 AND fence = $2 RETURNING id

-- name: finish
WITH mine AS (
    UPDATE batches SET
        status = $3, output_file_id = $4, error_file_id = $5, runner = NULL,
        completed_at = CASE WHEN $3 = 'completed' THEN now() END,
        cancelled_at = CASE WHEN $3 = 'cancelled' THEN now() END
    WHERE id = $1 AND fence = $2 AND status IN ('finalizing', 'cancelling') RETURNING id
), seen AS (
    UPDATE files SET is_whole = true FROM mine WHERE files.id IN ($4, $5)
)
SELECT id FROM mine

-- name: drop_lines
DELETE FROM batch_lines WHERE batch_id = $1 AND number IN (
    SELECT number FROM batch_lines WHERE batch_id = $1 AND number > $2 ORDER BY number LIMIT $3
)
RETURNING number

-- name: undropped
-- The limit within keeps this a look into the index for each batch that has ended.
SELECT b.id FROM batches b
CROSS JOIN LATERAL (SELECT FROM batch_lines l WHERE l.batch_id = b.id LIMIT 1) line
WHERE b.status NOT IN ('validating', 'in_progress', 'finalizing', 'cancelling')
LIMIT 10

-- name: sweep
DELETE FROM batches WHERE id IN (
    SELECT id FROM batches
    WHERE created_at < now() - make_interval(secs => $1)
      AND status NOT IN ('validating', 'in_progress', 'finalizing', 'cancelling')
    LIMIT 100
)

-- name: open_batches
-- No row: no such cursor. A row without an id: nothing there.
SELECT page.* FROM (SELECT '-infinity'::timestamptz AS created_at, '' AS id WHERE $1::text IS NULL
                    UNION ALL SELECT created_at, id FROM batches WHERE id = $1) last
LEFT JOIN LATERAL (
    SELECT b.*, (
        SELECT count(*) FROM batch_lines r WHERE r.batch_id = b.id AND r.is_open AND r.runner IS NOT NULL
    ) AS running
    FROM batches b
    WHERE (created_at, id) > (last.created_at, last.id)
      AND status IN ('validating', 'in_progress', 'finalizing', 'cancelling')
    ORDER BY created_at, id LIMIT $2
) page ON true
ORDER BY page.created_at, page.id

-- name: watch
INSERT INTO batch_watch (runner, lease_until) VALUES ($1, now() + make_interval(secs => $2))
ON CONFLICT (is_one) DO UPDATE SET runner = excluded.runner, lease_until = excluded.lease_until
WHERE batch_watch.runner = excluded.runner OR batch_watch.lease_until < now()
RETURNING runner

-- name: figures
-- Lines that have no answer are what the counts of their batches leave: to count 50,000 of them would take long.
SELECT status, count(*) AS batches, sum(total - completed - failed)::bigint AS lines, sum(running)::bigint AS running,
       extract(epoch FROM now() - min(created_at))::float8 AS oldest_s
FROM (
    SELECT b.*, (
        SELECT count(*) FROM batch_lines r WHERE r.batch_id = b.id AND r.is_open AND r.runner IS NOT NULL
    ) AS running
    FROM batches b WHERE status IN ('validating', 'in_progress', 'finalizing', 'cancelling')
) open GROUP BY status
