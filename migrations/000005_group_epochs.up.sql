-- Epochs outlive their group by its name. What was one floor for all names holds
-- for all of them on, under no name, until it is forgotten as the others are.
ALTER TABLE group_epochs RENAME TO group_floor;
ALTER TABLE group_floor RENAME CONSTRAINT group_epochs_pkey TO group_floor_pkey;
ALTER TABLE group_floor RENAME CONSTRAINT group_epochs_floor_check TO group_floor_floor_check;
CREATE TABLE group_epochs (
    group_id   text COLLATE "C" PRIMARY KEY,
    floor      bigint NOT NULL CHECK (floor > 0),
    deleted_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX group_epochs_by_age ON group_epochs (deleted_at);
INSERT INTO group_epochs (group_id, floor)
SELECT '', floor
FROM group_floor
WHERE floor > 0;
DROP TABLE group_floor;
