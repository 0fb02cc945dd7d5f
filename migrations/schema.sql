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
    place  text NOT NULL,
    failed  boolean NOT NULL DEFAULT false, -- a turn of this round
    done_at timestamptz -- when a round last ended in which none failed; null: never
) WITH (fillfactor = 50);

CREATE TABLE committed_offsets (
    group_id         text COLLATE "C" NOT NULL,
    partition_id     bigint NOT NULL,
    committed_offset bigint NOT NULL CHECK (committed_offset >= 0),
    metadata         text,
    PRIMARY KEY (group_id, partition_id)
) WITH (fillfactor = 50); -- each commit writes its row again

CREATE TABLE staged_offsets (
    transaction_ref  bigint NOT NULL,
    group_id         text COLLATE "C" NOT NULL,
    partition_id     bigint NOT NULL,
    committed_offset bigint NOT NULL CHECK (committed_offset >= 0),
    from_offset      bigint CHECK (from_offset >= 0),
    metadata         text,
    member_id        text COLLATE "C", -- that the offset is for; null: the group has none when it commits
    member_epoch     bigint,
    PRIMARY KEY (transaction_ref, group_id, partition_id),
    CHECK ((member_id IS NULL) = (member_epoch IS NULL))
);

-- The requests that staged offsets, so that a repeat is told what the first was
-- (rule T4). They go with their transaction's fate.
CREATE TABLE staged_requests (
    transaction_ref bigint NOT NULL,
    fingerprint     bytea NOT NULL CHECK (octet_length(fingerprint) = 16),
    expires_at      timestamptz NOT NULL, -- of the transaction, as it was answered
    PRIMARY KEY (transaction_ref, fingerprint)
);

-- Who reads topics together. Whatever is written of a group but deadlines and
-- previous epochs is written under the lock of its row here.
CREATE TABLE groups (
    group_id   text COLLATE "C" PRIMARY KEY,
    epoch      bigint NOT NULL DEFAULT 0 CHECK (epoch >= 0), -- 0: it never had a member
    sweep_at   timestamptz, -- no deadline of its members is before; null: it has none
    idle_since timestamptz, -- since when it has neither members nor commits; null: it has members
    CHECK ((sweep_at IS NULL) = (idle_since IS NOT NULL))
) WITH (fillfactor = 50);
CREATE INDEX groups_by_sweep ON groups (sweep_at) WHERE sweep_at IS NOT NULL;
CREATE INDEX groups_by_idleness ON groups (idle_since) WHERE idle_since IS NOT NULL;

-- The highest epoch that a group had that is deleted: the first epoch of one that
-- has its name again is above, for as long as somebody of the old one may be left.
CREATE TABLE group_epochs (
    group_id   text COLLATE "C" PRIMARY KEY, -- empty: the floor of every name, from before it was one name's
    floor      bigint NOT NULL CHECK (floor > 0),
    deleted_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX group_epochs_by_age ON group_epochs (deleted_at);

-- A member's row is the lock of what it commits. Its deadline is written again
-- and again: no index may have it, and pages have room for its next version.
CREATE TABLE members (
    group_id             text COLLATE "C" NOT NULL,
    member_id            text COLLATE "C" NOT NULL,
    instance_id          text COLLATE "C",
    topics               text[],  -- as it named them
    topics_pattern       text,    -- or as it described them
    assignor             text CHECK (assignor IN ('uniform', 'range')), -- null: whichever the others want
    auto_offset_reset    text NOT NULL CHECK (auto_offset_reset IN ('earliest', 'latest')),
    session_timeout_ms   integer NOT NULL CHECK (session_timeout_ms > 0),
    rebalance_timeout_ms integer NOT NULL CHECK (rebalance_timeout_ms > 0),
    member_epoch         bigint NOT NULL CHECK (member_epoch > 0),
    previous_epoch       bigint NOT NULL CHECK (previous_epoch >= 0 AND previous_epoch < member_epoch), -- 0: stale
    expires_at           timestamptz NOT NULL,
    revoke_by            timestamptz, -- null: it was told to let go of nothing
    PRIMARY KEY (group_id, member_id),
    CHECK ((topics IS NULL) <> (topics_pattern IS NULL))
) WITH (fillfactor = 50);
CREATE UNIQUE INDEX members_by_instance ON members (group_id, instance_id) WHERE instance_id IS NOT NULL;

-- Members whose instance_id another one took over (rule G7).
CREATE TABLE replaced_members (
    group_id    text COLLATE "C" NOT NULL,
    member_id   text COLLATE "C" NOT NULL,
    replaced_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (group_id, member_id)
);
CREATE INDEX replaced_members_by_age ON replaced_members (replaced_at);

-- Who has a partition, and who is to have it. One row a partition: it cannot
-- have two owners (rule G1).
CREATE TABLE group_partitions (
    group_id    text COLLATE "C" NOT NULL,
    topic_id    bigint NOT NULL, -- perhaps of a topic that is gone, until the group is refreshed
    partition   integer NOT NULL CHECK (partition >= 0),
    owner_id    text COLLATE "C",  -- the member that may commit; null: nobody has it
    since_epoch bigint CHECK (since_epoch > 0), -- the member epoch with which it got it
    revoking    boolean NOT NULL,  -- the owner was told to let go, and has not said yet that it did
    target_id   text COLLATE "C",  -- the member that is to have it; null: nobody subscribes any more
    PRIMARY KEY (group_id, topic_id, partition),
    CHECK (owner_id IS NOT NULL OR target_id IS NOT NULL),
    CHECK ((owner_id IS NULL) = (since_epoch IS NULL)),
    CHECK (NOT revoking OR owner_id IS NOT NULL)
) WITH (fillfactor = 70);
CREATE INDEX group_partitions_by_owner ON group_partitions (group_id, owner_id) WHERE owner_id IS NOT NULL;
CREATE INDEX group_partitions_by_target ON group_partitions (group_id, target_id) WHERE target_id IS NOT NULL;
-- Those that are on their way.
CREATE INDEX group_partitions_moving ON group_partitions (group_id)
    WHERE owner_id IS DISTINCT FROM target_id OR revoking;

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
