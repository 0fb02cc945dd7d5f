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

-- The highest epoch that a group had that is deleted: the first epoch of a
-- group that is new, or new again, is above.
CREATE TABLE group_epochs (
    one   boolean PRIMARY KEY DEFAULT true CHECK (one),
    floor bigint NOT NULL CHECK (floor >= 0)
);
INSERT INTO group_epochs (floor) VALUES (0);

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

-- Each commit writes its row again.
ALTER TABLE committed_offsets SET (fillfactor = 50);
INSERT INTO groups (group_id, idle_since)
SELECT DISTINCT group_id, clock_timestamp()
FROM committed_offsets;

-- The member that an offset is for; null: the group has none when it commits.
ALTER TABLE staged_offsets
    ADD COLUMN member_id text COLLATE "C",
    ADD COLUMN member_epoch bigint,
    ADD CHECK ((member_id IS NULL) = (member_epoch IS NULL));
