-- Full-text search over conversations, in any language: no dictionaries, every word as it is.
--
-- Its index is a table of its own, filled by triggers: reading an item must not
-- carry its words along, and whoever adds items need not know of it.

-- Texts are compared in small letters and in Unicode's compatibility form (NFKC); punctuation separates words.
-- Scripts that write no blanks between words are taken sign by sign, so that any part of their text is found.
--
-- lower() needs a collation that knows more than ASCII; which there is depends on the server's version.
DO $do$
DECLARE
    known text := (
        SELECT collname FROM pg_collation
        WHERE collname IN ('pg_unicode_fast', 'pg_c_utf8', 'und-x-icu')
        ORDER BY array_position(ARRAY['pg_unicode_fast', 'pg_c_utf8', 'und-x-icu'], collname::text) LIMIT 1);
BEGIN
    EXECUTE format($f$
        CREATE FUNCTION search_words(raw text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $body$
            SELECT regexp_replace(
                lower(normalize(left(raw, 50000), NFKC) COLLATE %I),
                '[\u0001-\u002f\u003a-\u0040\u005b-\u0060\u007b-\u00a9\u00ab-\u00b4\u00b6-\u00b9\u00bb-\u00bf\u2000-\u206f\u2190-\u2bff\u2e00-\u2e7f\u3000-\u3004\u3008-\u3020\ufe30-\ufe6f]+',
                ' ', 'g')
        $body$ $f$, coalesce(known, 'default'));
END
$do$;

CREATE FUNCTION search_signs(words text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    -- Thai, Lao, Myanmar and Khmer; kana and ideographs.
    SELECT regexp_replace(
        words, '([\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3021-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff])',
        ' \1 ', 'g')
$$;

-- The query for what a user has typed: all its words, the last one as a beginning too unless a blank follows it.
-- Null: there is nothing in it to look for.
CREATE FUNCTION search_query(typed text, of_tenant text) RETURNS tsquery LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    words text[] := regexp_split_to_array(trim(search_words(left(typed, 1000))), '\s+');
    wanted tsquery;
    part tsquery;
BEGIN
    FOR at IN 1 .. least(cardinality(words), 16) LOOP
        part := phraseto_tsquery('simple', search_signs(words[at]));
        -- A word of one letter begins too many others.
        IF at = cardinality(words) AND length(words[at]) > 1 AND numnode(part) = 1 AND typed !~ '\s$' THEN
            part := (part::text || ':*')::tsquery;
        END IF;
        wanted := CASE WHEN numnode(part) = 0 THEN wanted WHEN wanted IS NULL THEN part ELSE wanted && part END;
    END LOOP;
    RETURN wanted && ('''@' || replace(replace(of_tenant, '\', '\\'), '''', '''''') || '''')::tsquery;
END
$$;

CREATE TABLE item_words (
    conversation_id text NOT NULL,
    item_id text NOT NULL,
    seq bigint NOT NULL,
    tenant text NOT NULL,
    words tsvector NOT NULL,   -- with '@' and the tenant as one more, so that one index finds both at once
    PRIMARY KEY (conversation_id, item_id),
    FOREIGN KEY (conversation_id, item_id) REFERENCES items ON DELETE CASCADE
);

CREATE INDEX item_words_by_age ON item_words (tenant, seq);
CREATE INDEX item_words_by_word ON item_words USING gin (words) WITH (gin_pending_list_limit = 256);

-- The text of a message; of tools, reasoning and pictures nothing is searched.
CREATE FUNCTION item_text(payload jsonb) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT string_agg(left(part ->> 'text', 50000), ' ' ORDER BY position)
    FROM jsonb_array_elements(CASE jsonb_typeof(payload -> 'content') WHEN 'array' THEN payload -> 'content' END)
        WITH ORDINALITY AS parts (part, position)
    WHERE position <= 100 AND part ->> 'type' IN ('text', 'input_text', 'output_text')
$$;

CREATE FUNCTION index_items() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO item_words (conversation_id, item_id, seq, tenant, words)
    SELECT new_items.conversation_id, new_items.id, new_items.seq, c.tenant,
           to_tsvector('simple', search_signs(search_words(item_text(new_items.payload))))
           || array_to_tsvector(ARRAY['@' || c.tenant])
    FROM new_items JOIN conversations c ON c.id = new_items.conversation_id
    WHERE new_items.type = 'message' AND new_items.role IN ('user', 'assistant')
      AND new_items.deleted_at IS NULL AND NOT c.is_hidden AND item_text(new_items.payload) <> ''
    ON CONFLICT DO NOTHING;
    RETURN NULL;
END
$$;

CREATE FUNCTION forget_item() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM item_words WHERE conversation_id = NEW.conversation_id AND item_id = NEW.id;
    RETURN NULL;
END
$$;

CREATE TRIGGER index_new_items AFTER INSERT ON items
    REFERENCING NEW TABLE AS new_items FOR EACH STATEMENT EXECUTE FUNCTION index_items();
CREATE TRIGGER forget_deleted_item AFTER UPDATE OF deleted_at ON items
    FOR EACH ROW WHEN (NEW.deleted_at IS NOT NULL) EXECUTE FUNCTION forget_item();

INSERT INTO item_words (conversation_id, item_id, seq, tenant, words)
SELECT items.conversation_id, items.id, items.seq, c.tenant,
       to_tsvector('simple', search_signs(search_words(item_text(items.payload))))
       || array_to_tsvector(ARRAY['@' || c.tenant])
FROM items JOIN conversations c ON c.id = items.conversation_id
WHERE items.type = 'message' AND items.role IN ('user', 'assistant')
  AND items.deleted_at IS NULL AND NOT c.is_hidden AND item_text(items.payload) <> '';

-- What a user's query finds among the newest `among` items that match: of each conversation its best item,
-- the best conversation first. Its plan is made anew each time, since a word of every item and one of three
-- items need other indexes.
CREATE FUNCTION search_conversations(of_tenant text, typed text, among integer)
RETURNS TABLE (conversation_id text, item_id text, seq bigint, score real)
LANGUAGE plpgsql STABLE AS $$
DECLARE
    wanted tsquery := search_query(typed, of_tenant);
BEGIN
    IF wanted IS NULL THEN
        RETURN;
    END IF;
    RETURN QUERY EXECUTE
        'SELECT DISTINCT ON (found.conversation_id)
                found.conversation_id, found.item_id, found.seq, ts_rank(found.words, $1, 1)
         FROM (SELECT * FROM item_words w WHERE w.tenant = $2 AND w.words @@ $1 ORDER BY w.seq DESC LIMIT $3) found
         ORDER BY found.conversation_id, 4 DESC, found.seq DESC'
        USING wanted, of_tenant, among;
END
$$;
