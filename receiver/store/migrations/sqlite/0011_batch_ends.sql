-- Batches: what paused one, what was said at its end, and the pictures that this
-- message waits for; their tasks, newest first.

ALTER TABLE lanes ADD COLUMN paused_by TEXT;                        -- person, failures, budget
ALTER TABLE lanes ADD COLUMN idle_ms   INTEGER NOT NULL DEFAULT 0;  -- between an end and what opened it again
ALTER TABLE lanes ADD COLUMN told_rows INTEGER;                     -- reopened: the rows that its last end was about

UPDATE lanes SET paused_by = CASE
    WHEN paused_why IS NULL THEN 'person'
    WHEN paused_why LIKE 'its budget of %' THEN 'budget'
    ELSE 'failures'
END WHERE paused_at IS NOT NULL;

CREATE INDEX tasks_batch ON tasks (lane, ref) WHERE lane > 3;
CREATE INDEX tasks_archive_batch ON tasks (lane) WHERE archive_at IS NOT NULL AND archive_tries = 0 AND lane > 3;
CREATE INDEX notices_batch ON notices (state, due_at) WHERE event = 'batch';
