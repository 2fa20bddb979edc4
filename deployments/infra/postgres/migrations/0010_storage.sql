-- How many bytes each tenant stores: kept by triggers, so that whoever writes or deletes need not know of it.

ALTER TABLE api_keys ADD COLUMN storage_bytes bigint CHECK (storage_bytes > 0);

-- In parts, so that the writes of a tenant's conversations seldom wait for one another.
CREATE TABLE storage (
    tenant text NOT NULL,
    part integer NOT NULL,
    bytes bigint NOT NULL,
    PRIMARY KEY (tenant, part)
) WITH (fillfactor = 50);

CREATE FUNCTION storage_part(of_what text) RETURNS integer LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT hashtext(of_what) & 7
$$;

CREATE FUNCTION add_storage(of_tenant text, of_what text, more bigint) RETURNS void LANGUAGE sql AS $$
    INSERT INTO storage (tenant, part, bytes) SELECT of_tenant, storage_part(of_what), more WHERE more <> 0
    ON CONFLICT (tenant, part) DO UPDATE SET bytes = storage.bytes + excluded.bytes
$$;

-- Items count through their conversation: when that is deleted they go after it, and cannot tell whose they were.
ALTER TABLE conversations ADD COLUMN stored_bytes bigint NOT NULL DEFAULT 0;
ALTER TABLE responses ADD COLUMN stored_bytes bigint NOT NULL
    GENERATED ALWAYS AS (octet_length(request::text)) STORED;
ALTER TABLE stored_completions ADD COLUMN stored_bytes bigint NOT NULL
    GENERATED ALWAYS AS (octet_length(completion::text) + octet_length(messages::text)) STORED;

UPDATE conversations c SET stored_bytes = known.bytes
FROM (SELECT conversation_id, sum(size_bytes) AS bytes FROM items GROUP BY conversation_id) known
WHERE c.id = known.conversation_id;

INSERT INTO storage (tenant, part, bytes)
SELECT tenant, part, sum(bytes) FROM (
    SELECT tenant, storage_part(id) AS part, stored_bytes AS bytes FROM conversations
    UNION ALL SELECT tenant, storage_part(conversation_id), stored_bytes FROM responses
    UNION ALL SELECT tenant, storage_part(id), stored_bytes FROM stored_completions
) known GROUP BY tenant, part;

CREATE FUNCTION weigh_new_items() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE conversations c SET stored_bytes = stored_bytes + added.bytes
    FROM (SELECT conversation_id, sum(size_bytes) AS bytes FROM new_items GROUP BY conversation_id) added
    WHERE c.id = added.conversation_id;
    RETURN NULL;
END
$$;

CREATE FUNCTION weigh_changed_item() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE conversations SET stored_bytes = stored_bytes + NEW.size_bytes - OLD.size_bytes
    WHERE id = NEW.conversation_id;
    RETURN NULL;
END
$$;

CREATE FUNCTION weigh_conversation() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        PERFORM add_storage(OLD.tenant, OLD.id, -OLD.stored_bytes);
    ELSE
        PERFORM add_storage(NEW.tenant, NEW.id, NEW.stored_bytes - OLD.stored_bytes);
    END IF;
    RETURN NULL;
END
$$;

-- By the conversation, so that one transaction changes one part: two orders of locking would be a deadlock.
CREATE FUNCTION weigh_response() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        PERFORM add_storage(OLD.tenant, OLD.conversation_id, -OLD.stored_bytes);
    ELSE
        PERFORM add_storage(NEW.tenant, NEW.conversation_id, NEW.stored_bytes);
    END IF;
    RETURN NULL;
END
$$;

CREATE FUNCTION weigh_stored_completion() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        PERFORM add_storage(OLD.tenant, OLD.id, -OLD.stored_bytes);
    ELSE
        PERFORM add_storage(NEW.tenant, NEW.id, NEW.stored_bytes);
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER weigh_new_items AFTER INSERT ON items
    REFERENCING NEW TABLE AS new_items FOR EACH STATEMENT EXECUTE FUNCTION weigh_new_items();
CREATE TRIGGER weigh_changed_item AFTER UPDATE OF size_bytes ON items
    FOR EACH ROW WHEN (NEW.size_bytes <> OLD.size_bytes) EXECUTE FUNCTION weigh_changed_item();
CREATE TRIGGER weigh_conversation AFTER UPDATE OF stored_bytes ON conversations
    FOR EACH ROW EXECUTE FUNCTION weigh_conversation();
CREATE TRIGGER weigh_deleted_conversation AFTER DELETE ON conversations
    FOR EACH ROW EXECUTE FUNCTION weigh_conversation();
CREATE TRIGGER weigh_response AFTER INSERT OR DELETE ON responses
    FOR EACH ROW EXECUTE FUNCTION weigh_response();
CREATE TRIGGER weigh_stored_completion AFTER INSERT OR DELETE ON stored_completions
    FOR EACH ROW EXECUTE FUNCTION weigh_stored_completion();
