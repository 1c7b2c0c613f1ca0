-- oldest: 21

-- The same schema as after 0021 of SQLite; what the columns mean stands there. Numbers of migrations mean the same in
-- both.
--
-- Every text has the collation "C": pages and retention walk text keys in the order of their bytes, whatever the
-- database's locale. JSON is text, since jsonb refuses some of it and reorders the rest. Flags are 0 or 1.
-- Rows that are often updated leave room for their next version, and their tables are vacuumed early.
--
-- Two indexes leave out what keeps growing. Completed tasks and accepted callbacks are walked by the primary key. Their
-- other rows are found only by a statement that names the state or verdict in its text, not by a parameter.

CREATE TABLE tasks (
    ref                 text COLLATE "C" PRIMARY KEY,
    created_at          bigint NOT NULL,
    provider            text COLLATE "C" NOT NULL,
    origin              text COLLATE "C" NOT NULL,
    label               text COLLATE "C",
    targets             text COLLATE "C",
    poll_only           bigint NOT NULL,
    parent              text COLLATE "C",
    prompt              text COLLATE "C",
    params              bytea NOT NULL,
    state               text COLLATE "C" NOT NULL,
    task_id             text COLLATE "C",
    model               text COLLATE "C",
    key_id              text COLLATE "C",
    held_by             text COLLATE "C",
    unsure              bigint NOT NULL,
    confirmed           bigint NOT NULL,
    settled_by          text COLLATE "C",
    submitted_at        bigint,
    settled_at          bigint,
    provider_created_at bigint,
    called_at           bigint,
    progress            double precision,
    error               text COLLATE "C",
    usage               text COLLATE "C",
    pictures            text COLLATE "C",
    due_at              bigint,
    tries               bigint NOT NULL,
    claim               bigint NOT NULL,
    lease_until         bigint,
    place_until         bigint,
    polls               bigint NOT NULL,
    poll_at             bigint,
    poll_step           bigint NOT NULL,
    hint                text COLLATE "C",
    hint_step           bigint,
    hint_until          bigint,
    kept                bigint NOT NULL,
    kept_bytes          bigint NOT NULL,
    archive             text COLLATE "C",
    archive_at          bigint,
    archive_tries       bigint NOT NULL DEFAULT 0,
    hint_note           text COLLATE "C",
    doubted_at          bigint,
    refuted_at          bigint,
    candidates          text COLLATE "C",
    denied              text COLLATE "C",
    kept_ends           bigint NOT NULL DEFAULT 0,
    kept_ends_bytes     bigint NOT NULL DEFAULT 0,
    refused_at          bigint,
    refusals            bigint NOT NULL DEFAULT 0,
    lane                bigint NOT NULL DEFAULT 2,
    turn                bigint NOT NULL DEFAULT 0,
    row_key             bytea,
    quiet               bigint NOT NULL DEFAULT 0,
    again_of            text COLLATE "C",
    why                 text COLLATE "C",
    reserved            bigint,
    spend_day           text COLLATE "C",
    root                text COLLATE "C",
    parent_image        bigint,
    step                text COLLATE "C",
    depth               bigint NOT NULL DEFAULT 0,
    of_all              bigint NOT NULL DEFAULT 0,
    children            bigint NOT NULL DEFAULT 0,
    picks               bigint NOT NULL DEFAULT 0,
    picked_by           text COLLATE "C",
    ping                bigint,
    traits              bytea
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02);

CREATE UNIQUE INDEX tasks_task_id ON tasks (provider, task_id) WHERE task_id IS NOT NULL;
CREATE INDEX tasks_state ON tasks (state, ref) WHERE state <> 'completed';
CREATE INDEX tasks_label ON tasks (label, ref) WHERE label IS NOT NULL;
CREATE INDEX tasks_model ON tasks (model, ref);
CREATE INDEX tasks_due ON tasks (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX tasks_lease ON tasks (lease_until) WHERE lease_until IS NOT NULL;
CREATE INDEX tasks_place ON tasks (place_until) WHERE place_until IS NOT NULL;
CREATE INDEX tasks_poll ON tasks (poll_at) WHERE poll_at IS NOT NULL;
CREATE INDEX tasks_past ON tasks (model, settled_at, submitted_at) WHERE settled_by = 'callback' AND confirmed = 1;
CREATE INDEX tasks_key ON tasks (key_id) WHERE key_id IS NOT NULL AND settled_at IS NULL;
CREATE INDEX tasks_archive ON tasks (archive_at, archive_tries) WHERE archive_at IS NOT NULL;
CREATE INDEX tasks_refused ON tasks (refused_at) WHERE refused_at IS NOT NULL;
CREATE INDEX tasks_turn ON tasks (lane, turn, due_at) WHERE due_at IS NOT NULL;
CREATE UNIQUE INDEX tasks_row ON tasks (lane, row_key) WHERE row_key IS NOT NULL;
CREATE INDEX tasks_lane ON tasks (lane, state, turn) WHERE lane > 3;
CREATE INDEX tasks_again ON tasks (again_of) WHERE again_of IS NOT NULL;
CREATE INDEX tasks_paid ON tasks (model, settled_at) WHERE settled_by <> 'callback' AND usage IS NOT NULL;
CREATE INDEX tasks_archive_single ON tasks (archive_at, archive_tries) WHERE archive_at IS NOT NULL AND lane <= 3;
CREATE INDEX tasks_batch ON tasks (lane, ref) WHERE lane > 3;
CREATE INDEX tasks_archive_batch ON tasks (lane) WHERE archive_at IS NOT NULL AND archive_tries = 0 AND lane > 3;
CREATE INDEX tasks_child ON tasks (parent, ref) WHERE parent IS NOT NULL;
CREATE INDEX tasks_held_child ON tasks (parent) WHERE held_by = 'parent';
CREATE INDEX tasks_root ON tasks (root, ref) WHERE root IS NOT NULL;
CREATE INDEX tasks_pick ON tasks (ref) WHERE held_by = 'pick';
CREATE INDEX tasks_row_key ON tasks (row_key, lane) WHERE row_key IS NOT NULL;
CREATE INDEX tasks_single ON tasks (ref) WHERE lane <= 3;
CREATE INDEX tasks_underway ON tasks (ref)
    WHERE lane <= 3 AND state NOT IN ('completed', 'failed', 'lost', 'cancelled');
CREATE INDEX tasks_unsure ON tasks (ref) WHERE unsure = 1;
CREATE INDEX tasks_person ON tasks (ref) WHERE held_by = 'person';

CREATE TABLE images (
    ref      text COLLATE "C" NOT NULL,
    image_no bigint NOT NULL,
    type     text COLLATE "C" NOT NULL,
    job_id   text COLLATE "C",
    url      text COLLATE "C" NOT NULL,
    PRIMARY KEY (ref, image_no)
);

CREATE TABLE callbacks (
    id          bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    ref         text COLLATE "C" NOT NULL,
    received_at bigint NOT NULL,
    verdict     text COLLATE "C" NOT NULL,
    size        bigint NOT NULL,
    digest      bytea NOT NULL,
    replay_of   bigint,
    headers     bytea NOT NULL,
    body        bytea
);

CREATE INDEX callbacks_ref ON callbacks (ref, id);
CREATE INDEX callbacks_verdict ON callbacks (verdict, id) WHERE verdict <> 'accepted';

CREATE TABLE overflow (
    ref     text COLLATE "C" PRIMARY KEY,
    count   bigint NOT NULL,
    digest  bytea NOT NULL,
    last_at bigint NOT NULL
);

CREATE TABLE polls (
    id    bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    ref   text COLLATE "C" NOT NULL,
    at    bigint NOT NULL,
    heard text COLLATE "C" NOT NULL,
    text  text COLLATE "C" NOT NULL,
    body  bytea
);

CREATE INDEX polls_ref ON polls (ref, id);
CREATE INDEX polls_age ON polls (at);

CREATE TABLE sends (
    id          bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    target      text COLLATE "C" NOT NULL,
    state       text COLLATE "C" NOT NULL,
    created_at  bigint NOT NULL,
    due_at      bigint NOT NULL,
    tries       bigint NOT NULL,
    claims      bigint NOT NULL,
    claim       bigint NOT NULL,
    owner       text COLLATE "C",
    lease_until bigint,
    delivered   text COLLATE "C"
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02);

CREATE INDEX sends_due ON sends (target, due_at) WHERE state = 'due';
CREATE INDEX sends_sending ON sends (target, lease_until) WHERE state = 'sending';
CREATE INDEX sends_age ON sends (created_at);

CREATE TABLE notices (
    id         bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    ref        text COLLATE "C",
    target     text COLLATE "C" NOT NULL,
    event      text COLLATE "C" NOT NULL,
    created_at bigint NOT NULL,
    due_at     bigint NOT NULL,
    state      text COLLATE "C" NOT NULL,
    send_id    bigint,
    attempts   bigint NOT NULL,
    error      text COLLATE "C",
    sent_at    bigint,
    report     text COLLATE "C" NOT NULL
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02);

CREATE INDEX notices_due ON notices (target, due_at, id) WHERE state = 'due' AND send_id IS NULL;
CREATE INDEX notices_dead ON notices (target, id) WHERE state = 'dead';
CREATE INDEX notices_send ON notices (send_id) WHERE send_id IS NOT NULL;
CREATE INDEX notices_ref ON notices (ref, id) WHERE ref IS NOT NULL;
CREATE INDEX notices_state ON notices (state, id);
CREATE INDEX notices_target ON notices (target, id);
CREATE INDEX notices_held ON notices (target, due_at, id) WHERE state = 'held' AND send_id IS NULL;
CREATE INDEX notices_batch ON notices (state, due_at) WHERE event = 'batch';

CREATE TABLE attempts (
    id          bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    send_id     bigint NOT NULL,
    at          bigint NOT NULL,
    duration_ms bigint NOT NULL,
    error       text COLLATE "C"
);

CREATE INDEX attempts_send ON attempts (send_id, id);

CREATE TABLE attention (
    cause text COLLATE "C" PRIMARY KEY,
    at    bigint NOT NULL,
    text  text COLLATE "C" NOT NULL
);

CREATE INDEX attention_age ON attention (at);

CREATE TABLE idempotency (
    key        text COLLATE "C" PRIMARY KEY,
    digest     bytea NOT NULL,
    ref        text COLLATE "C" NOT NULL,
    created_at bigint NOT NULL
);

CREATE INDEX idempotency_age ON idempotency (created_at);

CREATE TABLE copies (
    ref        text COLLATE "C" NOT NULL,
    image_no   bigint NOT NULL,
    file       text COLLATE "C",
    sha256     bytea,
    size       bigint,
    media_type text COLLATE "C",
    width      bigint,
    height     bigint,
    small      text COLLATE "C",
    error      text COLLATE "C",
    tiny       text COLLATE "C",
    PRIMARY KEY (ref, image_no)
);

CREATE INDEX copies_kept ON copies (ref) WHERE file IS NOT NULL;

CREATE TABLE targets (
    name       text COLLATE "C" PRIMARY KEY,
    window_at  bigint,
    failures   bigint NOT NULL DEFAULT 0,
    rest_until bigint,
    recent     text COLLATE "C"
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02);

CREATE TABLE probes (
    filler bytea
);

CREATE TABLE redriven (
    notice_id bigint NOT NULL,
    send_id   bigint NOT NULL,
    PRIMARY KEY (notice_id, send_id)
);

CREATE INDEX redriven_send ON redriven (send_id);

CREATE TABLE clock (
    id         bigint PRIMARY KEY CHECK (id = 1),
    boot_id    text COLLATE "C" NOT NULL,
    boot_ms    bigint NOT NULL,
    wall_ms    bigint NOT NULL,
    held_until bigint NOT NULL,
    leap_ms    bigint NOT NULL
);

CREATE TABLE lanes (
    id          bigint GENERATED BY DEFAULT AS IDENTITY (START WITH 4) PRIMARY KEY,
    name        text COLLATE "C" NOT NULL UNIQUE,
    batch       bigint NOT NULL,
    priority    bigint NOT NULL,
    created_at  bigint NOT NULL,
    label       text COLLATE "C",
    targets     text COLLATE "C",
    each        bigint NOT NULL DEFAULT 0,
    budget      text COLLATE "C",
    closed_at   bigint,
    closed_why  text COLLATE "C",
    paused_at   bigint,
    paused_why  text COLLATE "C",
    finished_at bigint,
    streak      bigint NOT NULL DEFAULT 0,
    streak_why  text COLLATE "C",
    paused_by   text COLLATE "C",
    idle_ms     bigint NOT NULL DEFAULT 0,
    told_rows   bigint
);

INSERT INTO lanes (id, name, batch, priority, created_at)
    VALUES (1, 'high', 0, 1, 0), (2, 'normal', 0, 0, 0), (3, 'low', 0, -1, 0);

CREATE INDEX lanes_open ON lanes (priority) WHERE finished_at IS NULL;
CREATE INDEX lanes_created ON lanes (created_at) WHERE batch = 1;
CREATE INDEX lanes_finished ON lanes (finished_at) WHERE finished_at IS NOT NULL;

CREATE TABLE gates (
    provider text COLLATE "C" NOT NULL,
    cause    text COLLATE "C" NOT NULL,
    since    bigint NOT NULL,
    text     text COLLATE "C" NOT NULL,
    PRIMARY KEY (provider, cause)
);

CREATE TABLE spend (
    day       text COLLATE "C" NOT NULL,
    provider  text COLLATE "C" NOT NULL,
    model     text COLLATE "C" NOT NULL,
    lane      bigint NOT NULL,
    label     text COLLATE "C" NOT NULL,
    completed bigint NOT NULL,
    failed    bigint NOT NULL,
    lost      bigint NOT NULL,
    unknown   bigint NOT NULL,
    in_hand   bigint NOT NULL,
    unpriced  bigint NOT NULL,
    cost      bigint NOT NULL,
    reserved  bigint NOT NULL,
    presumed  bigint NOT NULL,
    PRIMARY KEY (day, provider, model, lane, label)
);

CREATE TABLE spend_totals (
    scope    text COLLATE "C" PRIMARY KEY,
    spent    bigint NOT NULL,
    reserved bigint NOT NULL,
    unpriced bigint NOT NULL
);

CREATE TABLE budget_periods (
    kind       text COLLATE "C" NOT NULL,
    period     text COLLATE "C" NOT NULL,
    raised_to  bigint,
    warned_at  bigint,
    reached_at bigint,
    PRIMARY KEY (kind, period)
);

CREATE TABLE served (
    id      bigint PRIMARY KEY CHECK (id = 1),
    machine text COLLATE "C" NOT NULL
);

CREATE TABLE followups (
    ref text COLLATE "C" PRIMARY KEY
);

CREATE TABLE spend_models (
    model     text COLLATE "C" PRIMARY KEY,
    completed bigint NOT NULL,
    ended     bigint NOT NULL,
    unknown   bigint NOT NULL,
    cost      bigint NOT NULL
);

CREATE TABLE restores (
    at      bigint NOT NULL,
    made_at bigint
);

CREATE TABLE steps (
    id   bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    ref  text COLLATE "C" NOT NULL,
    at   bigint NOT NULL,
    kind text COLLATE "C" NOT NULL,
    text text COLLATE "C" NOT NULL
);

CREATE INDEX steps_ref ON steps (ref, id);

CREATE TABLE hours (
    kind  text COLLATE "C" NOT NULL,
    hour  bigint NOT NULL,
    name  text COLLATE "C" NOT NULL,
    count bigint NOT NULL,
    PRIMARY KEY (kind, hour, name)
);

CREATE TABLE sessions (
    id         bigint PRIMARY KEY CHECK (id = 1),
    generation text COLLATE "C" NOT NULL,
    since      bigint NOT NULL
);

CREATE TABLE paces (
    name  text COLLATE "C" PRIMARY KEY,
    state text COLLATE "C" NOT NULL
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02);

-- The words of labels and prompts, cut to the beginnings that are searched. The numbers go up with the order in which
-- the tasks came.

CREATE TABLE searched (
    id    bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    ref   text COLLATE "C" NOT NULL UNIQUE REFERENCES tasks (ref) ON DELETE CASCADE,
    words tsvector NOT NULL
);

CREATE INDEX searched_words ON searched USING gin (words);

-- The processes that work on this database. Each says every few seconds that it lives.

CREATE TABLE processes (
    id         text COLLATE "C" PRIMARY KEY,
    role       text COLLATE "C" NOT NULL,  -- all, web, worker
    host       text COLLATE "C" NOT NULL,
    version    text COLLATE "C" NOT NULL,
    schema     bigint NOT NULL,            -- the newest that it knows
    targets    text COLLATE "C" NOT NULL,  -- JSON list of the names that it knows
    started_at bigint NOT NULL,
    seen_at    bigint NOT NULL
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02);

-- One row while another database is being moved into this one: no process may work on it before that is done.

CREATE TABLE moving (
    id         bigint PRIMARY KEY CHECK (id = 1),
    owner      text COLLATE "C" NOT NULL,  -- the run of `receiver migrate` that writes; a later one takes over
    started_at bigint NOT NULL
);
