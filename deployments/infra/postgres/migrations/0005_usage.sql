-- What each key used, by UTC day and model.

CREATE TABLE usage_by_day (
    key_id text NOT NULL,
    day date NOT NULL,
    model text NOT NULL,
    requests bigint NOT NULL DEFAULT 0,
    errors bigint NOT NULL DEFAULT 0,
    prompt_tokens bigint NOT NULL DEFAULT 0,
    completion_tokens bigint NOT NULL DEFAULT 0,
    cached_tokens bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (key_id, day, model)
);

CREATE INDEX usage_by_day_of_all ON usage_by_day (day);

-- Batches that have been added already, so that one whose outcome the writer does not know can be repeated.
CREATE TABLE usage_batches (
    id text PRIMARY KEY,
    written_at timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX usage_batches_by_age ON usage_batches (written_at);
