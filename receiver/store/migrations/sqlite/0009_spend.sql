-- What was spent. Amounts are whole nano-USD, so that they can be summed exactly; a day is a date in the budget's zone.
-- The books always hold the sum of what `core.spend.contribution` says of every task; they outlive the tasks.

ALTER TABLE tasks ADD COLUMN reserved  INTEGER;    -- what its submission may cost; NULL: unknown
ALTER TABLE tasks ADD COLUMN spend_day TEXT;       -- the day on which it was claimed, and to which its cost counts

CREATE TABLE spend (
    day       TEXT NOT NULL,
    provider  TEXT NOT NULL,
    model     TEXT NOT NULL,
    lane      INTEGER NOT NULL,
    label     TEXT NOT NULL,
    completed INTEGER NOT NULL,
    failed    INTEGER NOT NULL,
    lost      INTEGER NOT NULL,
    unknown   INTEGER NOT NULL,            -- ended without a known cost
    in_hand   INTEGER NOT NULL,
    unpriced  INTEGER NOT NULL,            -- in hand, and nobody knows what they may cost
    cost      INTEGER NOT NULL,
    reserved  INTEGER NOT NULL,            -- for those in hand
    presumed  INTEGER NOT NULL,            -- for those whose cost stays unknown
    PRIMARY KEY (day, provider, model, lane, label)
) STRICT, WITHOUT ROWID;

CREATE TABLE spend_totals (                -- by day, and by batch: what a claim looks at, however many labels there are
    scope     TEXT PRIMARY KEY,            -- '2026-11-30', 'lane 17'
    spent     INTEGER NOT NULL,            -- cost, and what is presumed where that stays unknown
    reserved  INTEGER NOT NULL,
    unpriced  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE budget_periods (              -- what was said of a period, and done about it
    kind       TEXT NOT NULL,              -- day, month
    period     TEXT NOT NULL,              -- '2026-11-30', '2026-11'
    raised_to  INTEGER,                    -- by a person, for this period only
    warned_at  INTEGER,                    -- when a person was told that most of it is used
    reached_at INTEGER,                    -- when the first task had to wait
    PRIMARY KEY (kind, period)
) STRICT, WITHOUT ROWID;

-- The last costs of a model. Those that came by callback are found by tasks_past.
CREATE INDEX tasks_paid ON tasks (model, settled_at) WHERE settled_by <> 'callback' AND usage IS NOT NULL;

INSERT INTO spend
SELECT date(coalesce(submitted_at, created_at) / 1000, 'unixepoch'), provider, coalesce(model, ''), lane,
    coalesce(label, ''), sum(state = 'completed'), sum(state <> 'completed'), 0,
    sum(amount IS NULL AND NOT (state <> 'completed' AND settled_by IS 'answer' AND task_id IS NULL)), 0, 0,
    coalesce(sum(amount), 0), 0, 0
FROM (
    SELECT *, CASE WHEN price BETWEEN 0 AND 1e6 THEN CAST(round(price * 1e9) AS INTEGER) END AS amount
    FROM (
        SELECT *, CAST(json_extract(usage, '$.cost') AS REAL) AS price FROM tasks
        WHERE state IN ('completed', 'failed') OR (state = 'cancelled' AND submitted_at IS NOT NULL)
    )
)
GROUP BY 1, 2, 3, 4, 5;

INSERT INTO spend_totals SELECT day, sum(cost), 0, 0 FROM spend GROUP BY day;
