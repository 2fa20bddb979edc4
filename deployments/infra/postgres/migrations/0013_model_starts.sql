-- How long models took to start, phase by phase, for the estimate that waiting clients are told.
-- `began_at` is in Unix seconds, as the replica told it; `phases` has the seconds of each phase.

CREATE TABLE model_starts (
    deployment text NOT NULL,
    began_at double precision NOT NULL,
    phases jsonb NOT NULL,
    PRIMARY KEY (deployment, began_at)
);
