"""Our statements as PostgreSQL takes them."""

import pytest

from receiver.store.postgres.dialect import translate


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("SELECT a FROM t WHERE b = ? AND c > ?", "SELECT a FROM t WHERE b = $1 AND c > $2"),
        ("UPDATE t SET a = ?1 WHERE b > ?1 AND c = ?2", "UPDATE t SET a = $1 WHERE b > $1 AND c = $2"),
        ("SELECT a FROM t WHERE +state = ?", "SELECT a FROM t WHERE state = $1"),
        ("UPDATE t SET n = n + ? WHERE a = ?", "UPDATE t SET n = n + $1 WHERE a = $2"),
        ("SELECT 1 FROM a CROSS JOIN b ON a.i = b.i", "SELECT 1 FROM a JOIN b ON a.i = b.i"),
        ("SELECT 1 FROM a CROSS JOIN b", "SELECT 1 FROM a CROSS JOIN b"),
        (
            "DELETE FROM t WHERE id IN (SELECT id FROM t WHERE at < ?1 ORDER BY at LIMIT ?2) AND at < ?1",
            "DELETE FROM t WHERE id = ANY(ARRAY(SELECT id FROM t WHERE at < $1 ORDER BY at LIMIT $2)) AND at < $1",
        ),
        (
            "DELETE FROM t WHERE id IN (SELECT id FROM t WHERE ref = ANY(?) LIMIT ?)",
            "DELETE FROM t WHERE id = ANY(ARRAY(SELECT id FROM t WHERE ref = ANY($1) LIMIT $2))",
        ),
        ("SELECT 1 WHERE a IN (SELECT a FROM t WHERE b = ?)", "SELECT 1 WHERE a IN (SELECT a FROM t WHERE b = $1)"),
        ("SELECT 1 WHERE a IN ('x', 'y') LIMIT ?", "SELECT 1 WHERE a IN ('x', 'y') LIMIT $1"),
    ],
)
def test_a_statement(ours: str, theirs: str) -> None:
    assert translate(ours) == theirs
