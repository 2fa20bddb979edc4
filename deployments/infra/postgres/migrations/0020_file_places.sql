-- Files whose content is kept elsewhere, in a folder or an object store: `place` is its name there, made by this service.

ALTER TABLE files ADD COLUMN place text;

-- What is to be removed there, since its file is gone: by whichever statement, of whichever version.
CREATE TABLE file_removals (
    place text PRIMARY KEY,
    gone_at timestamptz NOT NULL DEFAULT now()
);

CREATE FUNCTION note_file_removal() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO file_removals (place) VALUES (OLD.place) ON CONFLICT DO NOTHING;
    RETURN NULL;
END
$$;

CREATE TRIGGER note_file_removal AFTER DELETE ON files
    FOR EACH ROW WHEN (OLD.place IS NOT NULL) EXECUTE FUNCTION note_file_removal();
