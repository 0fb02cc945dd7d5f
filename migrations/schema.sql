-- The schema that all migrations together make, for reading; nothing runs it but the
-- test that compares the two. A change is a new migration, and the same change here.

-- Ids of topics, partitions, stagings and transactions come from one sequence,
-- so that log_id and scope_id need no type beside them.
CREATE SEQUENCE object_ids;

CREATE TABLE topics (
    topic_id         bigint PRIMARY KEY DEFAULT nextval('object_ids'),
    topic            text COLLATE "C" NOT NULL UNIQUE,
    partition_count  integer NOT NULL CHECK (partition_count BETWEEN 1 AND 10000),
    retention_ms     bigint NOT NULL CHECK (retention_ms >= -1),
    retention_bytes  bigint NOT NULL CHECK (retention_bytes >= -1),
    max_record_bytes bigint NOT NULL CHECK (max_record_bytes > 0),
    created_at       timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- A partition's row is the lock of its offsets and is not updated by appends:
-- the next offset is read from the end of the log itself.
CREATE TABLE partitions (
    partition_id     bigint PRIMARY KEY DEFAULT nextval('object_ids'),
    topic_id         bigint NOT NULL REFERENCES topics ON DELETE CASCADE,
    partition        integer NOT NULL CHECK (partition >= 0),
    log_start_offset bigint NOT NULL DEFAULT 0 CHECK (log_start_offset >= 0),
    log_start_bytes  bigint NOT NULL DEFAULT 0 CHECK (log_start_bytes >= 0), -- end_bytes of what retention removed
    UNIQUE (topic_id, partition)
) WITH (fillfactor = 70); -- starts of logs move; updates that change no key stay within their page

CREATE TABLE producers (
    producer_id            bigint GENERATED ALWAYS AS IDENTITY (START WITH 1001) PRIMARY KEY,
    transactional_id       text COLLATE "C" UNIQUE,
    producer_epoch         bigint NOT NULL DEFAULT 0 CHECK (producer_epoch >= 0),
    transaction_timeout_ms integer NOT NULL CHECK (transaction_timeout_ms BETWEEN 1 AND 900000),
    registered_at          timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- The first answers of registrations that came with an Idempotency-Key.
CREATE TABLE registrations (
    idempotency_key text COLLATE "C" PRIMARY KEY,
    fingerprint     bytea NOT NULL CHECK (octet_length(fingerprint) = 16),
    answer          text NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE transactions (
    transaction_ref bigint PRIMARY KEY DEFAULT nextval('object_ids'),
    transaction_id  text COLLATE "C" NOT NULL UNIQUE,
    producer_id     bigint,
    producer_epoch  bigint,
    fingerprint     bytea CHECK (octet_length(fingerprint) = 16), -- null: aborted before it came
    state           text NOT NULL CHECK (state IN ('ongoing', 'committed', 'aborted')),
    aborted_by      text CHECK (aborted_by IN ('client', 'timeout', 'fencing')),
    appended        text,        -- JSON: where the records of a committed one are
    began_at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at      timestamptz, -- while ongoing
    ended_at        timestamptz,
    CHECK ((producer_id IS NULL) = (producer_epoch IS NULL)),
    CHECK ((state = 'aborted') = (aborted_by IS NOT NULL)),
    CHECK ((state = 'committed') = (appended IS NOT NULL)),
    CHECK ((state = 'ongoing') = (expires_at IS NOT NULL)),
    CHECK ((state = 'ongoing') = (ended_at IS NULL))
);
CREATE UNIQUE INDEX transactions_one_open ON transactions (producer_id) WHERE state = 'ongoing'; -- rule T9
CREATE INDEX transactions_by_state ON transactions (state, transaction_id);
CREATE INDEX transactions_by_expiry ON transactions (expires_at) WHERE state = 'ongoing';

-- The records of an open transaction for one partition are a log of their own,
-- whose log_id is the staging's. Commit moves them into the partition's log.
CREATE TABLE stagings (
    staging_id      bigint PRIMARY KEY DEFAULT nextval('object_ids'),
    transaction_ref bigint NOT NULL,
    partition_id    bigint NOT NULL,
    UNIQUE (transaction_ref, partition_id)
);

-- One row is the share of one partition in one produce request.
CREATE TABLE batches (
    log_id        bigint NOT NULL,  -- a partition, or a staging; -partition: a husk, whose records are gone
    base_offset   bigint NOT NULL CHECK (base_offset >= 0),
    record_count  integer NOT NULL CHECK (record_count > 0),
    end_bytes     bigint NOT NULL,  -- size of all records of the log up to the end of this batch
    max_timestamp bigint NOT NULL,  -- of all records of the log up to the end of this batch
    appended_at   timestamptz NOT NULL,

    -- The identity of the request, on its first batch only: sequenced
    -- (producer_id, scope_id, base_sequence) or keyed (scope_id, idempotency_key).
    scope_id        bigint,   -- the topic or partition of the path; of a key the topic, or the transaction
    producer_id     bigint,
    producer_epoch  bigint,
    base_sequence   bigint CHECK (base_sequence >= 0),
    idempotency_key text COLLATE "C",
    fingerprint     bytea CHECK (octet_length(fingerprint) = 16),
    request_count   integer,  -- records of the whole request
    request_parts   text,     -- JSON: its share of each partition; null when this batch is all of it
    transaction_ref bigint,   -- the transaction that it came in

    -- The records, packed. Record i (from 0) has its key in body from ends[2i]
    -- to ends[2i+1] and its value from there to ends[2i+2]; ends[0] is 0.
    body       bytea NOT NULL,
    ends       integer[] NOT NULL,
    flags      bytea,         -- a byte a record, or one byte for all; null: text keys, JSON values
    headers    text[],        -- JSON of each record's headers; null: none has any
    timestamp  bigint NOT NULL, -- of the records that have none of their own
    timestamps bigint[],      -- null: all have the batch's

    PRIMARY KEY (log_id, base_offset),
    CHECK (cardinality(ends) = 2 * record_count),
    CHECK ((producer_id IS NULL) = (base_sequence IS NULL)),
    CHECK ((producer_id IS NULL AND idempotency_key IS NULL)
        = (scope_id IS NULL AND fingerprint IS NULL AND request_count IS NULL)),
    CHECK (producer_id IS NULL OR idempotency_key IS NULL)
) WITH ( -- what is deleted is to be found again soon by what is inserted
    autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 5000,
    toast.autovacuum_vacuum_scale_factor = 0.05, toast.autovacuum_vacuum_threshold = 5000
);
CREATE UNIQUE INDEX batches_by_sequence ON batches (producer_id, scope_id, base_sequence)
    WHERE producer_id IS NOT NULL;
CREATE UNIQUE INDEX batches_by_key ON batches (scope_id, idempotency_key)
    WHERE idempotency_key IS NOT NULL;
-- Never pglz, which costs five times the CPU; the program turns lz4 on where
-- the server has it.
ALTER TABLE batches ALTER COLUMN body SET STORAGE EXTERNAL;
ALTER TABLE batches ALTER COLUMN ends SET STORAGE EXTERNAL;
ALTER TABLE batches ALTER COLUMN flags SET STORAGE EXTERNAL;
ALTER TABLE batches ALTER COLUMN headers SET STORAGE EXTERNAL;
ALTER TABLE batches ALTER COLUMN timestamps SET STORAGE EXTERNAL;
ALTER TABLE batches ALTER COLUMN request_parts SET STORAGE EXTERNAL;

-- Logs that nothing refers to any more; their batches are deleted bit by bit.
CREATE TABLE dropped_logs (
    log_id bigint PRIMARY KEY
);

-- Where producers stand whose records retention has removed, by the scope that
-- their sequences count in. What is appended must not begin before (P8).
CREATE TABLE positions (
    producer_id   bigint NOT NULL,
    scope_id      bigint NOT NULL,
    next_sequence bigint NOT NULL CHECK (next_sequence > 0),
    appended_at   timestamptz NOT NULL, -- the last of what was removed
    PRIMARY KEY (producer_id, scope_id)
) WITH (fillfactor = 50);

-- What lies below the start of a log and waits to be deleted, bit by bit.
CREATE TABLE trims (
    log_id      bigint NOT NULL,
    to_offset   bigint NOT NULL,
    from_offset bigint NOT NULL CHECK (from_offset >= 0), -- of the range, nothing is left below
    raised_at   timestamptz NOT NULL DEFAULT clock_timestamp(), -- the start of the log
    PRIMARY KEY (log_id, to_offset),
    CHECK (to_offset > from_offset)
) WITH (fillfactor = 50);

-- What is to be done again and again by one proxy at a time: when, and where
-- the last one came to.
CREATE TABLE duties (
    duty   text COLLATE "C" PRIMARY KEY,
    due_at timestamptz NOT NULL,
    place  text NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE committed_offsets (
    group_id         text COLLATE "C" NOT NULL,
    partition_id     bigint NOT NULL,
    committed_offset bigint NOT NULL CHECK (committed_offset >= 0),
    metadata         text,
    PRIMARY KEY (group_id, partition_id)
);

CREATE TABLE staged_offsets (
    transaction_ref  bigint NOT NULL,
    group_id         text COLLATE "C" NOT NULL,
    partition_id     bigint NOT NULL,
    committed_offset bigint NOT NULL CHECK (committed_offset >= 0),
    from_offset      bigint CHECK (from_offset >= 0),
    metadata         text,
    PRIMARY KEY (transaction_ref, group_id, partition_id)
);

-- The log for people and SQL consumers: one row a record, committed ones only.
-- Below the start of its log nothing is shown, also where it is not deleted yet.
CREATE VIEW records AS
SELECT t.topic,
       p.partition,
       b.base_offset + i AS "offset",
       to_timestamp(COALESCE(b.timestamps[i + 1], b.timestamp) / 1000.0) AS "timestamp",
       CASE WHEN f.flag & 1 = 0
            THEN substring(d.body FROM s.key_start + 1 FOR s.key_end - s.key_start) END AS key,
       CASE WHEN f.flag & 4 = 0
            THEN substring(d.body FROM s.key_end + 1 FOR s.value_end - s.key_end) END AS value,
       b.headers[i + 1]::json AS headers,
       b.appended_at
FROM topics t
JOIN partitions p ON p.topic_id = t.topic_id
JOIN batches b ON b.log_id = p.partition_id AND b.base_offset >= p.log_start_offset
-- OFFSET 0 keeps the planner from unpacking a batch once for each record.
CROSS JOIN LATERAL (SELECT b.body || ''::bytea AS body, b.ends || '{}'::integer[] AS ends OFFSET 0) d
CROSS JOIN LATERAL generate_series(0, b.record_count - 1) AS i
CROSS JOIN LATERAL (SELECT CASE WHEN i = 0 THEN 0 ELSE d.ends[2 * i] END AS key_start,
                           d.ends[2 * i + 1] AS key_end,
                           d.ends[2 * i + 2] AS value_end) s
CROSS JOIN LATERAL (SELECT COALESCE(get_byte(b.flags, LEAST(i, octet_length(b.flags) - 1)), 0) AS flag) f;
