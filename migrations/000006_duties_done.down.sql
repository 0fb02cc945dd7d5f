ALTER TABLE duties
    DROP COLUMN failed,
    DROP COLUMN done_at;
