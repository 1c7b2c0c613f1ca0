-- What happened to a task and is written nowhere else: refused and retried submissions, pictures that were kept, and
-- what people did.

CREATE TABLE steps (
    id   INTEGER PRIMARY KEY,
    ref  TEXT NOT NULL,
    at   INTEGER NOT NULL,
    kind TEXT NOT NULL,
    text TEXT NOT NULL
) STRICT;

CREATE INDEX steps_ref ON steps (ref, id);
