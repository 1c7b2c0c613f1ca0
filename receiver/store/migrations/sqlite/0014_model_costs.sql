-- What tasks cost, by model: a model whose costs the provider does not tell has no place in a budget until it has a
-- price. And a failed task whose cost stays unknown counts as what was reserved for it, as a lost one does.

CREATE TABLE spend_models (
    model     TEXT PRIMARY KEY,
    completed INTEGER NOT NULL,
    ended     INTEGER NOT NULL,            -- or lost
    unknown   INTEGER NOT NULL,            -- without a known cost
    cost      INTEGER NOT NULL             -- of the others
) STRICT, WITHOUT ROWID;

INSERT INTO spend_models
SELECT model, sum(completed), sum(completed + failed + lost), sum(unknown), sum(cost) FROM spend GROUP BY model;

CREATE TEMP TABLE presumed AS
SELECT coalesce(spend_day, date(coalesce(submitted_at, created_at) / 1000, 'unixepoch')) AS day, provider,
    coalesce(model, '') AS model, lane, coalesce(label, '') AS label, reserved AS amount
FROM (SELECT *, CAST(json_extract(usage, '$.cost') AS REAL) AS price FROM tasks WHERE reserved > 0)
WHERE (state = 'failed' OR (state = 'cancelled' AND submitted_at IS NOT NULL))
    AND NOT (settled_by IS 'answer' AND task_id IS NULL) AND (price IS NULL OR price NOT BETWEEN 0 AND 1e6);

UPDATE spend SET presumed = presumed + (SELECT sum(amount) FROM presumed AS it WHERE it.day = spend.day
    AND it.provider = spend.provider AND it.model = spend.model AND it.lane = spend.lane AND it.label = spend.label)
WHERE (day, provider, model, lane, label) IN (SELECT day, provider, model, lane, label FROM presumed);

UPDATE spend_totals SET spent = spent + (SELECT sum(amount) FROM presumed WHERE scope IN (day, 'lane ' || lane))
WHERE scope IN (SELECT day FROM presumed UNION SELECT 'lane ' || lane FROM presumed WHERE lane > 3);

DROP TABLE presumed;
