-- People who sign in, and their sessions.
--
-- A user's row in api_keys is the account: its tenant, limits, class and state, which hold for a user as they do for a
-- key. No secret has its hash. Sessions stand for a row of api_keys, whether that is a user's or a key's.

ALTER TABLE api_keys ADD COLUMN is_user boolean NOT NULL DEFAULT false;
DROP INDEX api_keys_by_name;
CREATE UNIQUE INDEX api_keys_by_name ON api_keys (name) WHERE revoked_at IS NULL AND NOT is_user;

CREATE TABLE users (
    id text PRIMARY KEY REFERENCES api_keys ON DELETE CASCADE,
    username text NOT NULL UNIQUE,
    password_hash text NOT NULL,
    must_change_password boolean NOT NULL DEFAULT false
);

CREATE TABLE sessions (
    id text PRIMARY KEY,
    hash bytea NOT NULL UNIQUE,
    key_id text NOT NULL REFERENCES api_keys ON DELETE CASCADE,
    device text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    used_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL
);
CREATE INDEX sessions_of_key ON sessions (key_id, created_at, id);
CREATE INDEX sessions_expiring ON sessions (expires_at);
