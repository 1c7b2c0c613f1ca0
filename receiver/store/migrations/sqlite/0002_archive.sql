-- Copies of pictures, and what is kept of a target between its messages.

ALTER TABLE tasks ADD COLUMN archive       TEXT;
ALTER TABLE tasks ADD COLUMN archive_at    INTEGER;
ALTER TABLE tasks ADD COLUMN archive_tries INTEGER NOT NULL DEFAULT 0;

CREATE INDEX tasks_archive ON tasks (archive_at, archive_tries) WHERE archive_at IS NOT NULL;

CREATE TABLE copies (                      -- one of each image that was fetched, or could not be
    ref        TEXT NOT NULL,
    image_no   INTEGER NOT NULL,
    file       TEXT,
    sha256     BLOB,
    size       INTEGER,
    media_type TEXT,
    width      INTEGER,
    height     INTEGER,
    small      TEXT,
    error      TEXT,
    PRIMARY KEY (ref, image_no)
) STRICT, WITHOUT ROWID;

-- Notices that wait for the end of a digest's window or of quiet hours.
CREATE INDEX notices_held ON notices (target, due_at, id) WHERE state = 'held' AND send_id IS NULL;

CREATE TABLE targets (
    name       TEXT PRIMARY KEY,
    window_at  INTEGER,                    -- when the window that its last first message opened ends
    failures   INTEGER NOT NULL DEFAULT 0, -- sends that failed, one after the other
    rest_until INTEGER                     -- after several of them: not tried before
) STRICT, WITHOUT ROWID;

CREATE TABLE probes (filler BLOB) STRICT;  -- whether a disk that was full takes a batch again

CREATE TABLE redriven (                    -- sends that a notice was in before it was put back to due
    notice_id INTEGER NOT NULL,
    send_id   INTEGER NOT NULL,
    PRIMARY KEY (notice_id, send_id)
) STRICT, WITHOUT ROWID;
