-- Times are milliseconds UTC. Columns that are read without the body stand before it, so that they never touch
-- its overflow pages. A partial index holds only the rows that a loop is still to look at.

CREATE TABLE tasks (
    ref                 TEXT PRIMARY KEY,
    created_at          INTEGER NOT NULL,
    provider            TEXT NOT NULL,
    origin              TEXT NOT NULL,
    label               TEXT,
    targets             TEXT,              -- JSON list of names, or NULL for all
    poll_only           INTEGER NOT NULL,
    parent              TEXT,              -- the task this one waits for (held_by parent)
    prompt              TEXT,
    params              BLOB NOT NULL,
    -- what changes
    state               TEXT NOT NULL,
    task_id             TEXT,
    model               TEXT,
    key_id              TEXT,
    held_by             TEXT,
    unsure              INTEGER NOT NULL,
    confirmed           INTEGER NOT NULL,
    settled_by          TEXT,
    submitted_at        INTEGER,
    settled_at          INTEGER,
    provider_created_at INTEGER,
    called_at           INTEGER,
    progress            REAL,
    error               TEXT,              -- JSON
    usage               TEXT,              -- JSON
    pictures            TEXT,
    due_at              INTEGER,
    tries               INTEGER NOT NULL,
    claim               INTEGER NOT NULL,
    lease_until         INTEGER,
    place_until         INTEGER,
    polls               INTEGER NOT NULL,
    poll_at             INTEGER,
    poll_step           INTEGER NOT NULL,
    hint                TEXT,              -- JSON
    hint_step           INTEGER,
    hint_until          INTEGER,
    kept                INTEGER NOT NULL,
    kept_bytes          INTEGER NOT NULL
) STRICT;

CREATE UNIQUE INDEX tasks_task_id ON tasks (provider, task_id) WHERE task_id IS NOT NULL;
CREATE INDEX tasks_state ON tasks (state, ref);
CREATE INDEX tasks_label ON tasks (label, ref) WHERE label IS NOT NULL;
CREATE INDEX tasks_model ON tasks (model, ref);
CREATE INDEX tasks_due   ON tasks (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX tasks_lease ON tasks (lease_until) WHERE lease_until IS NOT NULL;
CREATE INDEX tasks_place ON tasks (place_until) WHERE place_until IS NOT NULL;
CREATE INDEX tasks_poll  ON tasks (poll_at) WHERE poll_at IS NOT NULL;
CREATE INDEX tasks_past  ON tasks (model, settled_at, submitted_at) WHERE settled_by = 'callback' AND confirmed = 1;
CREATE INDEX tasks_key   ON tasks (key_id) WHERE key_id IS NOT NULL AND settled_at IS NULL;

CREATE TABLE images (
    ref      TEXT NOT NULL,
    image_no INTEGER NOT NULL,
    type     TEXT NOT NULL,
    job_id   TEXT,
    url      TEXT NOT NULL,
    PRIMARY KEY (ref, image_no)
) STRICT, WITHOUT ROWID;

CREATE TABLE callbacks (
    id          INTEGER PRIMARY KEY,
    ref         TEXT NOT NULL,
    received_at INTEGER NOT NULL,
    verdict     TEXT NOT NULL,
    size        INTEGER NOT NULL,
    digest      BLOB NOT NULL,
    replay_of   INTEGER,
    headers     BLOB NOT NULL,
    body        BLOB                       -- NULL: the same bytes as an earlier row of this task
) STRICT;

CREATE INDEX callbacks_ref     ON callbacks (ref, id);
CREATE INDEX callbacks_verdict ON callbacks (verdict, id);

CREATE TABLE overflow (                    -- callbacks beyond what is kept per task
    ref     TEXT PRIMARY KEY,
    count   INTEGER NOT NULL,
    digest  BLOB NOT NULL,                 -- of the last one
    last_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE polls (
    id    INTEGER PRIMARY KEY,
    ref   TEXT NOT NULL,
    at    INTEGER NOT NULL,
    heard TEXT NOT NULL,
    text  TEXT NOT NULL,
    body  BLOB                             -- kept if it changed anything
) STRICT;

CREATE INDEX polls_ref ON polls (ref, id);
CREATE INDEX polls_age ON polls (at);

CREATE TABLE sends (
    id          INTEGER PRIMARY KEY,
    target      TEXT NOT NULL,
    state       TEXT NOT NULL,             -- due, sending, sent, dead
    created_at  INTEGER NOT NULL,
    due_at      INTEGER NOT NULL,
    tries       INTEGER NOT NULL,          -- failures recorded
    claims      INTEGER NOT NULL,          -- claims since the last recorded result
    claim       INTEGER NOT NULL,          -- the fence
    owner       TEXT,
    lease_until INTEGER
) STRICT;

CREATE INDEX sends_due     ON sends (target, due_at) WHERE state = 'due';
CREATE INDEX sends_sending ON sends (target, lease_until) WHERE state = 'sending';
CREATE INDEX sends_age     ON sends (created_at);

CREATE TABLE notices (
    id         INTEGER PRIMARY KEY,
    ref        TEXT,
    target     TEXT NOT NULL,
    event      TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    due_at     INTEGER NOT NULL,
    state      TEXT NOT NULL,
    send_id    INTEGER,
    attempts   INTEGER NOT NULL,
    error      TEXT,
    sent_at    INTEGER,
    report     TEXT NOT NULL               -- JSON; frozen by the settling transaction
) STRICT;

CREATE INDEX notices_due    ON notices (target, due_at, id) WHERE state = 'due' AND send_id IS NULL;
CREATE INDEX notices_dead   ON notices (target, id) WHERE state = 'dead';
CREATE INDEX notices_send   ON notices (send_id) WHERE send_id IS NOT NULL;
CREATE INDEX notices_ref    ON notices (ref, id) WHERE ref IS NOT NULL;
CREATE INDEX notices_state  ON notices (state, id);
CREATE INDEX notices_target ON notices (target, id);

CREATE TABLE attempts (
    id          INTEGER PRIMARY KEY,
    send_id     INTEGER NOT NULL,
    at          INTEGER NOT NULL,
    duration_ms INTEGER NOT NULL,
    error       TEXT
) STRICT;

CREATE INDEX attempts_send ON attempts (send_id, id);

CREATE TABLE attention (                   -- told at most once per cause and hour
    cause TEXT PRIMARY KEY,
    at    INTEGER NOT NULL,
    text  TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE idempotency (
    key        TEXT PRIMARY KEY,
    digest     BLOB NOT NULL,
    ref        TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX idempotency_age ON idempotency (created_at);
