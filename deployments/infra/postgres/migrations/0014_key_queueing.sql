-- A key's share of a busy model, and the class in which its requests wait.

ALTER TABLE api_keys
    ADD COLUMN weight integer CHECK (weight BETWEEN 1 AND 1000),
    ADD COLUMN priority text CHECK (priority IN ('interactive', 'batch'));
