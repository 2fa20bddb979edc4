-- As in 0003, with the response's last item given: one that brings no input continues it.
CREATE FUNCTION begin_response(
    of_tenant text,
    to_conversation text,
    has_own_conversation boolean,
    of_key text,
    response text,
    continues text,
    of_status text,
    asked text,
    began timestamptz,
    run_by text,
    shown boolean,
    leaf text,
    ids text[],
    parents text[],
    types text[],
    roles text[],
    statuses text[],
    payloads text[]
) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    IF has_own_conversation THEN
        INSERT INTO conversations (id, tenant, is_hidden) VALUES (to_conversation, of_tenant, true)
        ON CONFLICT DO NOTHING;
    END IF;
    PERFORM FROM conversations WHERE id = to_conversation AND tenant = of_tenant FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN false;
    END IF;

    INSERT INTO responses (id, tenant, key_id, conversation_id, previous_id, leaf_id, status, request, created_at,
                           runner, heartbeat_at, is_shown)
    VALUES (response, of_tenant, of_key, to_conversation, continues, leaf, of_status, asked::jsonb,
            began, run_by, clock_timestamp(), shown)
    ON CONFLICT DO NOTHING;
    IF FOUND THEN
        PERFORM append_response_items(
            to_conversation, response, false, ids, parents, types, roles, statuses, payloads);
    END IF;
    RETURN true;
END
$$;

-- For references to an item by its id alone.
CREATE INDEX items_by_id ON items USING hash (id);
