-- Files of tenants, in chunks: no row and no statement holds more than one of them.

CREATE TABLE files (
    id text PRIMARY KEY,
    tenant text NOT NULL,
    filename text NOT NULL,
    purpose text NOT NULL,
    bytes bigint NOT NULL DEFAULT 0,
    is_whole boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL,
    expires_at timestamptz
);
CREATE INDEX files_of_tenant ON files (tenant, created_at, id);
CREATE INDEX files_unfinished ON files (created_at) WHERE NOT is_whole;
CREATE INDEX files_expiring ON files (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE file_chunks (
    file_id text NOT NULL REFERENCES files ON DELETE CASCADE,
    number integer NOT NULL,
    data bytea NOT NULL,
    PRIMARY KEY (file_id, number)
);
-- What comes is seldom worth compressing twice, and reading one chunk must not cost a decompression.
ALTER TABLE file_chunks ALTER COLUMN data SET STORAGE EXTERNAL;
