-- On which machine the database was last served: a copy elsewhere must not submit the same tasks.

CREATE TABLE served (
    id      INTEGER PRIMARY KEY CHECK (id = 1),
    machine TEXT NOT NULL                  -- a hash of the machine's id
) STRICT;
