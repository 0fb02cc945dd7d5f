-- The requests that staged offsets, so that a repeat is told what the first was
-- (rule T4). They go with their transaction's fate.
CREATE TABLE staged_requests (
    transaction_ref bigint NOT NULL,
    fingerprint     bytea NOT NULL CHECK (octet_length(fingerprint) = 16),
    expires_at      timestamptz NOT NULL, -- of the transaction, as it was answered
    PRIMARY KEY (transaction_ref, fingerprint)
);
