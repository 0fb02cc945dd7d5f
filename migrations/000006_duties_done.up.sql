-- Whether a duty is done, or only tried: see schema.sql.
ALTER TABLE duties
    ADD COLUMN failed boolean NOT NULL DEFAULT false,
    ADD COLUMN done_at timestamptz;
