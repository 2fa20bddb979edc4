-- Keys that can be switched off for a while, that administer others, and that have limits.

ALTER TABLE api_keys
    ADD COLUMN disabled_at timestamptz,
    ADD COLUMN is_admin boolean NOT NULL DEFAULT false,
    ADD COLUMN requests_per_minute bigint CHECK (requests_per_minute > 0),
    ADD COLUMN tokens_per_minute bigint CHECK (tokens_per_minute > 0),
    ADD COLUMN concurrent_requests bigint CHECK (concurrent_requests > 0),
    ADD COLUMN tokens_per_month bigint CHECK (tokens_per_month > 0);

CREATE INDEX api_keys_in_order ON api_keys (created_at, id);
