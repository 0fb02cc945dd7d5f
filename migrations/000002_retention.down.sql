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
JOIN batches b ON b.log_id = p.partition_id
-- OFFSET 0 keeps the planner from unpacking a batch once for each record.
CROSS JOIN LATERAL (SELECT b.body || ''::bytea AS body, b.ends || '{}'::integer[] AS ends OFFSET 0) d
CROSS JOIN LATERAL generate_series(0, b.record_count - 1) AS i
CROSS JOIN LATERAL (SELECT CASE WHEN i = 0 THEN 0 ELSE d.ends[2 * i] END AS key_start,
                           d.ends[2 * i + 1] AS key_end,
                           d.ends[2 * i + 2] AS value_end) s
CROSS JOIN LATERAL (SELECT COALESCE(get_byte(b.flags, LEAST(i, octet_length(b.flags) - 1)), 0) AS flag) f;
ALTER TABLE batches RESET (
    autovacuum_vacuum_scale_factor, autovacuum_vacuum_threshold,
    toast.autovacuum_vacuum_scale_factor, toast.autovacuum_vacuum_threshold
);
ALTER TABLE partitions RESET (fillfactor);
DROP TABLE duties;
DROP TABLE trims;
DROP TABLE positions;
