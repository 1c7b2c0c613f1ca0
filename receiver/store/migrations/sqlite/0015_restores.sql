-- When the database was restored: what was sent since the backup was made is not known.

CREATE TABLE restores (
    at      INTEGER NOT NULL,
    made_at INTEGER                        -- when the backup was made; NULL: it was a plain database
) STRICT;
