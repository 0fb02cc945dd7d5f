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

-- Starts of logs move; updates that change no key stay within their page.
ALTER TABLE partitions SET (fillfactor = 70);

-- What is deleted is to be found again soon by what is inserted.
ALTER TABLE batches SET (
    autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 5000,
    toast.autovacuum_vacuum_scale_factor = 0.05, toast.autovacuum_vacuum_threshold = 5000
);

-- Below the start of its log nothing is shown, also where it is not deleted yet.
CREATE OR REPLACE VIEW records AS
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
