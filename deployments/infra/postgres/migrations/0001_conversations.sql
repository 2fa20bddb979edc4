-- Conversations and their items. Items are only ever added; deleting one erases
-- its content and leaves the row, so that its children keep their way to the root.

CREATE TABLE conversations (
    id text PRIMARY KEY,
    tenant text NOT NULL,
    metadata jsonb NOT NULL DEFAULT '{}',
    title text,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX conversations_by_activity ON conversations (tenant, updated_at, id);

CREATE TABLE items (
    conversation_id text NOT NULL REFERENCES conversations ON DELETE CASCADE,
    id text NOT NULL,
    seq bigint GENERATED ALWAYS AS IDENTITY,
    parent_id text,
    type text NOT NULL,
    role text,
    status text NOT NULL,
    payload jsonb NOT NULL,
    size_bytes integer NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    deleted_at timestamptz,
    PRIMARY KEY (conversation_id, id),
    CONSTRAINT items_parent FOREIGN KEY (conversation_id, parent_id) REFERENCES items (conversation_id, id)
);

CREATE UNIQUE INDEX items_in_order ON items (conversation_id, seq);

-- For the branches below an item, and for the check of items_parent when a conversation is deleted.
CREATE INDEX items_by_parent ON items (conversation_id, parent_id);

-- Appends items in the order given and returns them as stored; no row means no such conversation.
--
-- A function, because each of its statements sees what was committed before that
-- statement: after the wait for the lock the newest item is the one that the
-- holder of the lock has just appended. One statement with CTEs would still see
-- the state before the wait, and concurrent turns would all answer the same item.
CREATE FUNCTION append_items(
    of_tenant text,
    to_conversation text,
    ids text[],
    parents text[],   -- null: the newest item; '': none
    types text[],
    roles text[],
    statuses text[],
    payloads text[]
) RETURNS SETOF items LANGUAGE plpgsql AS $$
DECLARE
    newest text;
BEGIN
    PERFORM FROM conversations WHERE id = to_conversation AND tenant = of_tenant FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN;
    END IF;

    SELECT items.id INTO newest FROM items
    WHERE conversation_id = to_conversation ORDER BY seq DESC LIMIT 1;

    INSERT INTO items (conversation_id, id, parent_id, type, role, status, payload, size_bytes)
    SELECT to_conversation, new.id, nullif(coalesce(new.parent, newest), ''), new.type, new.role, new.status,
           new.payload::jsonb, octet_length(new.payload)
    FROM unnest(ids, parents, types, roles, statuses, payloads)
        WITH ORDINALITY AS new (id, parent, type, role, status, payload, position)
    ORDER BY new.position
    ON CONFLICT DO NOTHING;

    IF FOUND THEN
        UPDATE conversations SET updated_at = clock_timestamp() WHERE id = to_conversation;
    END IF;

    RETURN QUERY SELECT * FROM items WHERE conversation_id = to_conversation AND items.id = ANY (ids);
END
$$;
