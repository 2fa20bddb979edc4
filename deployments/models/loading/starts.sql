-- name: newest
SELECT deployment, began_at, phases FROM (
    SELECT *, row_number() OVER (PARTITION BY deployment ORDER BY began_at DESC) AS age FROM model_starts
) AS starts WHERE age <= $1

-- name: add
-- Each ingress replica tells what it saw of one start; none takes back what another one measured.
INSERT INTO model_starts (deployment, began_at, phases) VALUES ($1, $2, $3)
ON CONFLICT (deployment, began_at) DO UPDATE SET phases = excluded.phases || model_starts.phases

-- name: trim
DELETE FROM model_starts WHERE deployment = $1 AND began_at < (
    SELECT min(began_at) FROM (
        SELECT began_at FROM model_starts WHERE deployment = $1 ORDER BY began_at DESC LIMIT $2
    ) AS kept
)
