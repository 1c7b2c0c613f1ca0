-- Chains: tasks that go on from the result of another one.

ALTER TABLE tasks ADD COLUMN root         TEXT;                       -- the first task of its chain; NULL: there is none
ALTER TABLE tasks ADD COLUMN parent_image INTEGER;                    -- which of its pictures; NULL: a person picks
ALTER TABLE tasks ADD COLUMN step         TEXT;                       -- its name within the chain
ALTER TABLE tasks ADD COLUMN depth        INTEGER NOT NULL DEFAULT 0; -- steps from the root
ALTER TABLE tasks ADD COLUMN of_all       INTEGER NOT NULL DEFAULT 0; -- one of a task for each picture of the parent
ALTER TABLE tasks ADD COLUMN children     INTEGER NOT NULL DEFAULT 0; -- how many tasks are held by this one
ALTER TABLE tasks ADD COLUMN picks        INTEGER NOT NULL DEFAULT 0; -- of these, for how many a person picks
ALTER TABLE tasks ADD COLUMN picked_by    TEXT;                       -- link, api
ALTER TABLE tasks ADD COLUMN ping         INTEGER;                    -- 1: its end is reported though others go on from
                                                                      -- it; 0: it is not; NULL: as usual
ALTER TABLE tasks ADD COLUMN traits       BLOB;                       -- what its pictures are, as JSON

CREATE INDEX tasks_child ON tasks (parent, ref) WHERE parent IS NOT NULL;
CREATE INDEX tasks_held_child ON tasks (parent) WHERE held_by = 'parent';
CREATE INDEX tasks_root ON tasks (root, ref) WHERE root IS NOT NULL;
CREATE INDEX tasks_pick ON tasks (ref) WHERE held_by = 'pick';

-- Tasks that have ended and whose children are still to be told. A row is written with the end and goes with the last
-- child, so that a crash in between loses nothing.

CREATE TABLE followups (
    ref TEXT PRIMARY KEY
) STRICT, WITHOUT ROWID;
