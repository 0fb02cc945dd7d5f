ALTER TABLE group_epochs RENAME TO group_floors;
ALTER TABLE group_floors RENAME CONSTRAINT group_epochs_pkey TO group_floors_pkey;
ALTER TABLE group_floors RENAME CONSTRAINT group_epochs_floor_check TO group_floors_floor_check;
CREATE TABLE group_epochs (
    one   boolean PRIMARY KEY DEFAULT true CHECK (one),
    floor bigint NOT NULL CHECK (floor >= 0)
);
INSERT INTO group_epochs (floor)
SELECT COALESCE(max(floor), 0)
FROM group_floors;
DROP TABLE group_floors;
