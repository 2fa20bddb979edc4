-- Batches and their lines. A lease says until when a replica works on a batch or line; the fence grows with each
-- replica that takes it, and what is written under an older one changes nothing.

CREATE TABLE batches (
    id text PRIMARY KEY,
    tenant text NOT NULL,
    key_id text NOT NULL,
    endpoint text NOT NULL,
    input_file_id text NOT NULL,
    metadata jsonb,
    output_ttl_s integer,
    status text NOT NULL,
    model text,
    errors jsonb,
    total integer NOT NULL DEFAULT 0,
    completed integer NOT NULL DEFAULT 0,
    failed integer NOT NULL DEFAULT 0,
    input_tokens bigint NOT NULL DEFAULT 0,
    cached_tokens bigint NOT NULL DEFAULT 0,
    output_tokens bigint NOT NULL DEFAULT 0,
    reasoning_tokens bigint NOT NULL DEFAULT 0,
    output_file_id text,
    error_file_id text,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    in_progress_at timestamptz,
    finalizing_at timestamptz,
    completed_at timestamptz,
    failed_at timestamptz,
    expired_at timestamptz,
    cancelling_at timestamptz,
    cancelled_at timestamptz,
    runner text,
    fence bigint NOT NULL DEFAULT 0,
    lease_until timestamptz NOT NULL DEFAULT '-infinity'
);
CREATE INDEX batches_of_tenant ON batches (tenant, created_at, id);
CREATE INDEX batches_open ON batches (created_at) WHERE status IN ('validating', 'in_progress', 'finalizing', 'cancelling');

CREATE TABLE batch_lines (
    batch_id text NOT NULL REFERENCES batches ON DELETE CASCADE,
    number integer NOT NULL,
    custom_id text NOT NULL,
    body bytea,
    is_open boolean NOT NULL DEFAULT true,
    outcome bytea,
    is_error boolean NOT NULL DEFAULT false,
    attempts integer NOT NULL DEFAULT 0,
    runner text,
    fence bigint NOT NULL DEFAULT 0,
    lease_until timestamptz NOT NULL DEFAULT '-infinity',
    PRIMARY KEY (batch_id, number)
);
CREATE INDEX batch_lines_open ON batch_lines (batch_id, number) WHERE is_open;
CREATE INDEX batch_lines_running ON batch_lines (batch_id) WHERE is_open AND runner IS NOT NULL;
