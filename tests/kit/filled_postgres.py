"""A PostgreSQL database with many rows as months of use leave them: most tasks are over, some are under way."""

import asyncpg

OPEN = 120
"""How many tasks are under way, however many there are."""
TARGETS = [f"target-{number}" for number in range(8)]
FIRST_AT = 1_767_000_000_000

_TASKS = """
INSERT INTO tasks (ref, created_at, provider, origin, label, poll_only, prompt, params, state, task_id, model, unsure,
    confirmed, settled_by, submitted_at, settled_at, due_at, tries, claim, lease_until, place_until, polls, poll_at,
    poll_step, kept, kept_bytes, archive, archive_at, lane, turn, row_key, key_id, root, parent, depth)
SELECT ref, at, 'vtrix', 'submitted', 'label-' || n % 50, 0, repeat('a prompt ', 6), '{}', state, 'job-' || n,
    'model-' || n % 9, 0, 1, CASE WHEN over THEN 'callback' END, at + 10, CASE WHEN over THEN at + 60000 END,
    CASE WHEN state = 'queued' THEN at END, 1, 1, CASE WHEN state = 'submitting' THEN at + 120000 END,
    CASE WHEN state IN ('submitting', 'waiting') THEN at + 3600000 END, 0, CASE WHEN state = 'waiting' THEN at + n END,
    0, 1, 300, CASE WHEN over THEN 'done' END, CASE WHEN n % 3 = 0 AND NOT over THEN at END,
    CASE WHEN n % 20 < 5 THEN 4 + n % 20 ELSE 2 END, n,
    CASE WHEN n % 20 < 5 THEN decode(lpad(to_hex(n), 8, '0'), 'hex') END, CASE WHEN over THEN NULL ELSE 'key' END,
    CASE WHEN n % 10 = 1 THEN lpad((n - 1)::text, 12, '0') END, CASE WHEN n % 10 = 1 THEN lpad((n - 1)::text, 12, '0')
    END, 0
FROM (
    SELECT n, lpad(n::text, 12, '0') AS ref, 1767000000000 + n * 1000 AS at, n <= $2 - $3 AS over, CASE
        WHEN n > $2 - $3 THEN (ARRAY['queued', 'submitting', 'waiting'])[1 + n % 3]
        ELSE (ARRAY['completed', 'completed', 'completed', 'completed', 'failed', 'cancelled'])[1 + n % 6] END AS state
    FROM generate_series($1::bigint, $2::bigint) AS n
) AS made
"""
_LANES = """
INSERT INTO lanes (id, name, batch, priority, created_at)
    SELECT n, 'batch-' || n, 1, 0, n FROM generate_series(4, 8) AS n ON CONFLICT DO NOTHING
"""
_NOTICES = """
INSERT INTO notices (ref, target, event, created_at, due_at, state, send_id, attempts, report)
    SELECT ref, 'target-' || turn % 8, 'completed', created_at, created_at, CASE WHEN settled_at IS NULL THEN 'due'
    WHEN turn % 40 = 0 THEN 'dead' ELSE 'sent' END, CASE WHEN settled_at IS NOT NULL THEN turn END, 1, repeat('{}', 100)
    FROM tasks WHERE turn > $1 ORDER BY ref
"""
_SENDS = """
INSERT INTO sends (id, target, state, created_at, due_at, tries, claims, claim)
    SELECT turn, 'target-' || turn % 8, CASE WHEN turn % 40 = 0 THEN 'dead' ELSE 'sent' END, created_at, created_at,
    1, 1, 1 FROM tasks WHERE settled_at IS NOT NULL AND turn > $1
"""
_REST = """
INSERT INTO images (ref, image_no, type, url) SELECT ref, n, 'image', 'https://pics.example/' || ref
    FROM tasks, generate_series(0, 1) AS n WHERE state = 'completed';
INSERT INTO copies (ref, image_no, file, size) SELECT ref, image_no, 'a.png', 9 FROM images;
INSERT INTO callbacks (ref, received_at, verdict, size, digest, headers, body)
    SELECT ref, created_at, CASE WHEN turn % 7 = 0 THEN 'duplicate' WHEN turn % 30 = 0 THEN 'unparsed' ELSE 'accepted'
    END, 300, decode(md5(ref), 'hex'), '{}', convert_to(repeat('body ', 60), 'UTF8') FROM tasks ORDER BY ref;
INSERT INTO attempts (send_id, at, duration_ms) SELECT id, created_at, 9 FROM sends;
INSERT INTO polls (ref, at, heard, text) SELECT ref, created_at, 'nothing', '503' FROM tasks;
INSERT INTO steps (ref, at, kind, text) SELECT ref, created_at, 'kept', '4 of 4' FROM tasks;
INSERT INTO overflow (ref, count, digest, last_at) SELECT ref, 1, 'd', created_at FROM tasks;
INSERT INTO idempotency (key, digest, ref, created_at) SELECT 'key-' || ref, 'd', ref, created_at FROM tasks;
INSERT INTO attention (cause, at, text) SELECT 'unparsed:' || ref, created_at, 'text' FROM tasks WHERE turn % 5 = 0;
INSERT INTO spend (day, provider, model, lane, label, completed, failed, lost, unknown, in_hand, unpriced, cost,
    reserved, presumed)
    SELECT '2025-' || lpad((1 + turn % 12)::text, 2, '0') || '-' || lpad((1 + turn % 28)::text, 2, '0'), 'vtrix',
    model, lane, label, 1, 0, 0, 0, 0, 0, 5, 0, 0 FROM tasks ON CONFLICT DO NOTHING;
INSERT INTO spend_totals (scope, spent, reserved, unpriced) SELECT 'scope ' || ref, 1, 1, 0 FROM tasks;
INSERT INTO hours (kind, hour, name, count) SELECT 'settled', turn, 'completed', 1 FROM tasks;
INSERT INTO redriven (notice_id, send_id) SELECT id, id FROM sends;
INSERT INTO searched (ref, words) SELECT ref, to_tsvector('simple', label || ' ' || turn) FROM tasks ORDER BY ref
"""
_MOST_S = 600.0


async def fill_work(raw: asyncpg.Connection, count: int, before: int = 0) -> None:
    """Put tasks into the database, and what is told of them, so that there are `count`; `before` are there, and end."""
    await raw.execute(_LANES)
    await raw.execute(
        "UPDATE tasks SET state = 'completed', settled_at = created_at, due_at = NULL, lease_until = NULL, place_until"
        " = NULL, poll_at = NULL, archive_at = NULL WHERE settled_at IS NULL"
    )
    await raw.execute("UPDATE notices SET state = 'sent', send_id = 0 WHERE state = 'due'")
    await raw.execute(_TASKS, before + 1, count, OPEN, timeout=_MOST_S)
    await raw.execute(_NOTICES, before, timeout=_MOST_S)
    await raw.execute(_SENDS, before, timeout=_MOST_S)
    for table in ("tasks", "notices", "sends"):
        await raw.execute(f"VACUUM ANALYZE {table}", timeout=_MOST_S)


async def fill_rest(raw: asyncpg.Connection) -> None:
    """What else belongs to the tasks that are there, in all large tables."""
    await raw.execute(_REST, timeout=_MOST_S)
    await raw.execute("ANALYZE", timeout=_MOST_S)
