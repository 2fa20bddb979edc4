-- Links under which a conversation can be read without a key. Nothing is copied: a share
-- names the item that it ends with, and shows the way from there to the root. What is said
-- afterwards is not on that way, and an item that is deleted is gone from the share too.

CREATE TABLE shares (
    id text PRIMARY KEY,
    conversation_id text NOT NULL REFERENCES conversations ON DELETE CASCADE,
    token_hash bytea NOT NULL UNIQUE,   -- SHA-256; the token itself is in the link alone
    until text NOT NULL,
    title text,                         -- as it was
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz,
    CONSTRAINT shares_until FOREIGN KEY (conversation_id, until) REFERENCES items (conversation_id, id) ON DELETE CASCADE
);

CREATE INDEX shares_of_a_conversation ON shares (conversation_id, until);
