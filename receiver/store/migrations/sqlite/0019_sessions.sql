-- The generation of the pages' sessions. Their cookies are signed over it: with a new one, all of them end.

CREATE TABLE sessions (
    id         INTEGER PRIMARY KEY CHECK (id = 1),
    generation TEXT NOT NULL,
    since      INTEGER NOT NULL
) STRICT;
