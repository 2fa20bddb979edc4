-- Chat completions that were asked for with `store: true`. Rows are only added or
-- deleted; of a row only the metadata changes.

CREATE TABLE stored_completions (
    id text PRIMARY KEY,
    tenant text NOT NULL,
    seq bigint GENERATED ALWAYS AS IDENTITY,
    model text NOT NULL,
    metadata jsonb NOT NULL DEFAULT '{}',
    completion jsonb NOT NULL,
    messages jsonb NOT NULL,   -- an array: what was asked
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX stored_completions_in_order ON stored_completions (tenant, seq);
CREATE INDEX stored_completions_by_model ON stored_completions (tenant, model, seq);
CREATE INDEX stored_completions_by_metadata ON stored_completions USING gin (metadata jsonb_path_ops);
