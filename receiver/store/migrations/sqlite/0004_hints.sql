-- What was heard of a task and did not settle it, and the ids that callbacks named.

ALTER TABLE tasks ADD COLUMN hint_note       TEXT;     -- JSON
ALTER TABLE tasks ADD COLUMN doubted_at      INTEGER;
ALTER TABLE tasks ADD COLUMN refuted_at      INTEGER;
ALTER TABLE tasks ADD COLUMN candidates      TEXT;     -- JSON list of ids, or NULL for none
ALTER TABLE tasks ADD COLUMN denied          TEXT;     -- JSON list of digests of ids, or NULL for none
ALTER TABLE tasks ADD COLUMN kept_ends       INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tasks ADD COLUMN kept_ends_bytes INTEGER NOT NULL DEFAULT 0;

UPDATE tasks SET candidates = json_array(json_extract(hint, '$.task_id'))
WHERE task_id IS NULL AND hint IS NOT NULL AND json_extract(hint, '$.task_id') IS NOT NULL;

UPDATE tasks SET hint_note = json_object(
    'status', json_extract(hint, '$.status'), 'source', 'callback', 'ending', json_extract(hint, '$.ending'))
WHERE hint IS NOT NULL;
