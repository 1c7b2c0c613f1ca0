-- The queue: lanes by priority, and within a lane the turn of each task. A batch is a lane with a name.

CREATE TABLE lanes (
    id          INTEGER PRIMARY KEY,
    name        TEXT NOT NULL UNIQUE,
    batch       INTEGER NOT NULL,          -- 0: one of the three for single tasks
    priority    INTEGER NOT NULL,          -- 1 high, 0 normal, -1 low
    created_at  INTEGER NOT NULL,
    label       TEXT,
    targets     TEXT,                      -- JSON list of names: who gets its digest; NULL for all
    each        INTEGER NOT NULL DEFAULT 0,-- its tasks are reported one by one as well
    budget      TEXT,                      -- USD
    closed_at   INTEGER,                   -- no more tasks will come
    closed_why  TEXT,                      -- NULL: whoever filled it closed it
    paused_at   INTEGER,
    paused_why  TEXT,
    finished_at INTEGER,                   -- closed, and the last of its tasks has ended
    streak      INTEGER NOT NULL DEFAULT 0,-- how many of its tasks failed in a row for the same reason
    streak_why  TEXT
) STRICT;

INSERT INTO lanes (id, name, batch, priority, created_at)
    VALUES (1, 'high', 0, 1, 0), (2, 'normal', 0, 0, 0), (3, 'low', 0, -1, 0);

CREATE INDEX lanes_open ON lanes (priority) WHERE finished_at IS NULL;

ALTER TABLE tasks ADD COLUMN lane     INTEGER NOT NULL DEFAULT 2;
ALTER TABLE tasks ADD COLUMN turn     INTEGER NOT NULL DEFAULT 0;   -- the order within the lane; of a batch, its line,
                                                                    -- negative if the row has a newer task
ALTER TABLE tasks ADD COLUMN row_key  BLOB;                         -- what of a batch's row is paid for, as a hash; only
                                                                    -- the newest task of a row has it
ALTER TABLE tasks ADD COLUMN quiet    INTEGER NOT NULL DEFAULT 0;   -- its end is reported with its batch only
ALTER TABLE tasks ADD COLUMN again_of TEXT;                         -- the task that this one repeats
ALTER TABLE tasks ADD COLUMN why      TEXT;                         -- queued: why it was put back

UPDATE tasks SET turn = created_at * 1000 WHERE state = 'queued';

CREATE INDEX tasks_turn ON tasks (lane, turn, due_at) WHERE due_at IS NOT NULL;
CREATE UNIQUE INDEX tasks_row ON tasks (lane, row_key) WHERE row_key IS NOT NULL;
CREATE INDEX tasks_lane ON tasks (lane, state, turn) WHERE lane > 3;
CREATE INDEX tasks_again ON tasks (again_of) WHERE again_of IS NOT NULL;

-- What stops all submissions to a provider until a person, or a time, lets them go on.

CREATE TABLE gates (
    provider TEXT NOT NULL,
    cause    TEXT NOT NULL,                -- person
    since    INTEGER NOT NULL,
    text     TEXT NOT NULL,
    PRIMARY KEY (provider, cause)
) STRICT, WITHOUT ROWID;
