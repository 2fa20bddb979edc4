-- A response whose request is added to, as by the name of the model that answered in its place, weighs more.

CREATE FUNCTION weigh_changed_response() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM add_storage(NEW.tenant, NEW.conversation_id, NEW.stored_bytes - OLD.stored_bytes);
    RETURN NULL;
END
$$;

CREATE TRIGGER weigh_changed_response AFTER UPDATE OF request ON responses
    FOR EACH ROW WHEN (NEW.stored_bytes <> OLD.stored_bytes) EXECUTE FUNCTION weigh_changed_response();
