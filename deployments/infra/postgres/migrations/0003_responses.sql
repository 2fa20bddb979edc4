-- Responses: one row each. What went in and what came out are items of a conversation.

-- Hidden: it holds the items of responses that named no conversation.
ALTER TABLE conversations ADD COLUMN is_hidden boolean NOT NULL DEFAULT false;

CREATE INDEX conversations_listed ON conversations (tenant, updated_at, id) WHERE NOT is_hidden;
DROP INDEX conversations_by_activity;

ALTER TABLE items ADD COLUMN response_id text;
ALTER TABLE items ADD COLUMN is_output boolean NOT NULL DEFAULT false;

CREATE INDEX items_by_response ON items (conversation_id, response_id, seq) WHERE response_id IS NOT NULL;

CREATE TABLE responses (
    id text PRIMARY KEY,
    tenant text NOT NULL,
    key_id text NOT NULL,
    conversation_id text NOT NULL REFERENCES conversations ON DELETE CASCADE,
    previous_id text,
    leaf_id text NOT NULL,   -- its last item, after which the next response continues
    status text NOT NULL,
    request jsonb NOT NULL,  -- as it was asked, without the input
    usage jsonb,
    error jsonb,
    incomplete_reason text,
    created_at timestamptz NOT NULL,
    completed_at timestamptz,

    heartbeat_at timestamptz, -- the last sign of life of an unfinished one

    -- Background only: the replica that runs it, and whether a client has seen events.
    runner text,
    attempts integer NOT NULL DEFAULT 1,
    is_shown boolean NOT NULL DEFAULT false
);

CREATE INDEX responses_by_conversation ON responses (conversation_id);

-- What a sweep looks at: those that a replica runs, and those that a client waits for.
CREATE INDEX responses_running ON responses (heartbeat_at) WHERE runner IS NOT NULL;
CREATE INDEX responses_waited_for ON responses (heartbeat_at) WHERE runner IS NULL AND status = 'in_progress';

-- The stream of a background response in batches of finished server-sent events.
CREATE TABLE response_events (
    response_id text NOT NULL REFERENCES responses ON DELETE CASCADE,
    last_number integer NOT NULL,  -- the sequence_number of the batch's last event
    frames bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (response_id, last_number)
);

CREATE INDEX response_events_by_age ON response_events (created_at);

-- As in 0001, but a hidden conversation is not there for who adds items by its id.
CREATE OR REPLACE FUNCTION append_items(
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
    PERFORM FROM conversations
    WHERE id = to_conversation AND tenant = of_tenant AND NOT is_hidden FOR NO KEY UPDATE;
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

-- Appends the input or the output of a response; the caller holds the conversation's lock.
CREATE FUNCTION append_response_items(
    to_conversation text,
    of_response text,
    are_output boolean,
    ids text[],
    parents text[],
    types text[],
    roles text[],
    statuses text[],
    payloads text[]
) RETURNS void LANGUAGE sql AS $$
    INSERT INTO items (conversation_id, id, parent_id, type, role, status, payload, size_bytes, response_id, is_output)
    SELECT to_conversation, new.id, nullif(new.parent, ''), new.type, new.role, new.status,
           new.payload::jsonb, octet_length(new.payload), of_response, are_output
    FROM unnest(ids, parents, types, roles, statuses, payloads)
        WITH ORDINALITY AS new (id, parent, type, role, status, payload, position)
    ORDER BY new.position
    ON CONFLICT DO NOTHING;

    UPDATE conversations SET updated_at = clock_timestamp() WHERE id = to_conversation;
$$;

-- Writes a response that has begun, with its input, and its conversation if that is a new hidden one.
-- Repeating it changes nothing. False: there is no such conversation.
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
    VALUES (response, of_tenant, of_key, to_conversation, continues, ids[array_upper(ids, 1)], of_status, asked::jsonb,
            began, run_by, clock_timestamp(), shown)
    ON CONFLICT DO NOTHING;
    IF FOUND THEN
        PERFORM append_response_items(
            to_conversation, response, false, ids, parents, types, roles, statuses, payloads);
    END IF;
    RETURN true;
END
$$;

-- Writes how a response ended, with its output and, for one in the background, its last events.
-- False: it has been deleted, has ended already, or is another replica's by now; then nothing is written.
CREATE FUNCTION end_response(
    of_tenant text,
    response text,
    run_by text,
    of_status text,
    of_usage text,
    of_error text,
    reason text,
    ended timestamptz,
    last_event integer,
    last_frames bytea,
    ids text[],
    parents text[],
    types text[],
    roles text[],
    statuses text[],
    payloads text[]
) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    to_conversation text;
BEGIN
    SELECT conversation_id INTO to_conversation FROM responses WHERE id = response AND tenant = of_tenant;
    -- The conversation first, as in begin_response and delete_response: two orders of locking would be a deadlock.
    PERFORM FROM conversations WHERE id = to_conversation FOR NO KEY UPDATE;

    UPDATE responses
    SET status = CASE WHEN status = 'cancelled' THEN status ELSE of_status END,
        usage = of_usage::jsonb, error = of_error::jsonb, incomplete_reason = reason,
        completed_at = coalesce(completed_at, ended), leaf_id = coalesce(ids[array_upper(ids, 1)], leaf_id),
        runner = NULL, heartbeat_at = NULL
    WHERE id = response AND tenant = of_tenant AND runner IS NOT DISTINCT FROM run_by
      AND (status IN ('queued', 'in_progress') OR status = 'cancelled' AND runner IS NOT NULL);
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    PERFORM append_response_items(to_conversation, response, true, ids, parents, types, roles, statuses, payloads);
    IF last_frames IS NOT NULL THEN
        INSERT INTO response_events (response_id, last_number, frames) VALUES (response, last_event, last_frames)
        ON CONFLICT DO NOTHING;
    END IF;
    RETURN true;
END
$$;

-- Deletes a response; its hidden conversation goes with the last response in it. False: there is none.
CREATE FUNCTION delete_response(of_tenant text, response text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    of_conversation text;
BEGIN
    SELECT conversation_id INTO of_conversation FROM responses WHERE id = response AND tenant = of_tenant;
    PERFORM FROM conversations WHERE id = of_conversation FOR UPDATE;
    DELETE FROM responses WHERE id = response AND tenant = of_tenant;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    DELETE FROM conversations
    WHERE id = of_conversation AND is_hidden
      AND NOT EXISTS (SELECT FROM responses WHERE conversation_id = of_conversation);
    RETURN true;
END
$$;
