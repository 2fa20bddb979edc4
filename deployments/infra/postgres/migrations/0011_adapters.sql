-- LoRA adapters that an administrator has loaded into a running service. Their files stay where they are.

CREATE TABLE adapters (
    model text NOT NULL,                -- the id of its model in the service file
    name text NOT NULL,
    source text NOT NULL,               -- a folder, or a Hugging Face id
    sha256 text NOT NULL,               -- of its files: a replica loads no others under this name
    rank integer NOT NULL,
    size_bytes bigint NOT NULL,
    loaded_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (model, name)
);
