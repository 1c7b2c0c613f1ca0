-- What the status page counts, by the hour: written with what is counted, so that nobody ever looks for it among the
-- tasks. Hours are those since 1970, UTC; the counts outlive the tasks.

CREATE TABLE hours (
    kind  TEXT NOT NULL,                   -- settled, sent
    hour  INTEGER NOT NULL,
    name  TEXT NOT NULL,                   -- by what it was settled; to which target it was sent
    count INTEGER NOT NULL,
    PRIMARY KEY (kind, hour, name)
) STRICT, WITHOUT ROWID;

INSERT INTO hours
SELECT 'settled', settled_at / 3600000, settled_by, count(*) FROM tasks
WHERE settled_at IS NOT NULL AND settled_by IS NOT NULL GROUP BY 2, 3;

INSERT INTO hours
SELECT 'sent', sent_at / 3600000, target, count(*) FROM notices
WHERE state = 'sent' AND sent_at IS NOT NULL GROUP BY 2, 3;

-- The few tasks that need a person: an entry is written when one begins to, and goes when it is over.
CREATE INDEX tasks_unsure ON tasks (ref) WHERE unsure = 1;
CREATE INDEX tasks_person ON tasks (ref) WHERE held_by = 'person';
