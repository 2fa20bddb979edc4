-- name: add
-- One statement, so that a batch is added whole or not at all. A second attempt
-- waits for the first one's end and then finds its id. Rows are in one order
-- everywhere, so that two replicas do not wait for each other in a circle.
WITH forgotten AS (
    DELETE FROM usage_batches WHERE id IN (
        SELECT id FROM usage_batches WHERE written_at < now() - interval '7 days' LIMIT 100 FOR UPDATE SKIP LOCKED
    )
), new AS (
    INSERT INTO usage_batches (id) VALUES ($1) ON CONFLICT DO NOTHING RETURNING id
)
INSERT INTO usage_by_day AS u (
    key_id, day, model, requests, errors, prompt_tokens, completion_tokens, cached_tokens
)
SELECT sums.* FROM new, unnest($2::text[], $3::date[], $4::text[], $5::bigint[], $6::bigint[], $7::bigint[],
                              $8::bigint[], $9::bigint[])
    AS sums (key_id, day, model, requests, errors, prompt_tokens, completion_tokens, cached_tokens)
ORDER BY sums.key_id, sums.day, sums.model
ON CONFLICT (key_id, day, model) DO UPDATE SET
    requests = u.requests + excluded.requests,
    errors = u.errors + excluded.errors,
    prompt_tokens = u.prompt_tokens + excluded.prompt_tokens,
    completion_tokens = u.completion_tokens + excluded.completion_tokens,
    cached_tokens = u.cached_tokens + excluded.cached_tokens

-- name: report
SELECT * FROM (
    SELECT CASE WHEN $4 THEN day END AS day,
           CASE WHEN $5 THEN model END AS model,
           CASE WHEN $6 THEN key_id END AS key_id,
           sum(requests)::bigint AS requests,
           sum(errors)::bigint AS errors,
           sum(prompt_tokens)::bigint AS prompt_tokens,
           sum(completion_tokens)::bigint AS completion_tokens,
           sum(cached_tokens)::bigint AS cached_tokens
    FROM usage_by_day
    WHERE day BETWEEN $1 AND $2 AND ($3::text IS NULL OR key_id = $3)
    GROUP BY 1, 2, 3
) AS sums
ORDER BY day, model COLLATE "C", key_id COLLATE "C" LIMIT $7

-- name: tokens
SELECT coalesce(sum(prompt_tokens + completion_tokens), 0)::bigint AS tokens
FROM usage_by_day WHERE key_id = $1 AND day >= $2
