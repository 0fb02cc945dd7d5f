ALTER TABLE staged_offsets
    DROP COLUMN member_id,
    DROP COLUMN member_epoch;
ALTER TABLE committed_offsets RESET (fillfactor);
DROP TABLE group_partitions;
DROP TABLE replaced_members;
DROP TABLE members;
DROP TABLE group_epochs;
DROP TABLE groups;
