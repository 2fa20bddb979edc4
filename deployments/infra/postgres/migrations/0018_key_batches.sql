-- What a key may have of batches and files, where the configuration's bounds are not to hold for it.

ALTER TABLE api_keys
    ADD COLUMN open_batches bigint CHECK (open_batches > 0),
    ADD COLUMN batch_lines bigint CHECK (batch_lines > 0),
    ADD COLUMN file_bytes bigint CHECK (file_bytes > 0);

-- As it was when the batch was made: whoever validates it need not ask for the key. Null: the configuration's bound.
ALTER TABLE batches ADD COLUMN max_lines bigint;
