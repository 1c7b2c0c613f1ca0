-- What several processes share over one database: the pace of each loop, as JSON, and when the last messages to a
-- target began.

CREATE TABLE paces (
    name  TEXT PRIMARY KEY,
    state TEXT NOT NULL
) STRICT, WITHOUT ROWID;

ALTER TABLE targets ADD COLUMN recent TEXT;
