-- Which ingress replica tells the figures of all batches to the metrics: one at a time.

CREATE TABLE batch_watch (
    is_one boolean PRIMARY KEY DEFAULT true CHECK (is_one),
    runner text NOT NULL,
    lease_until timestamptz NOT NULL
);
