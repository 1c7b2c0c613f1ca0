-- Refused submissions that may be the task's own fault, or that of the key or the balance.

ALTER TABLE tasks ADD COLUMN refused_at INTEGER;   -- when the refusal began to need a witness
ALTER TABLE tasks ADD COLUMN refusals   INTEGER NOT NULL DEFAULT 0;

CREATE INDEX tasks_refused ON tasks (refused_at) WHERE refused_at IS NOT NULL;
