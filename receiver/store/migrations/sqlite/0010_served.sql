-- On which machine the database was last served: a copy elsewhere must not submit the same tasks.

CREATE TABLE served (
    id      INTEGER PRIMARY KEY CHECK (id = 1),
    machine TEXT NOT NULL                  -- a hash of the machine's id
) STRICT;

-- Pictures of single tasks are fetched before those of batches.
CREATE INDEX tasks_archive_single ON tasks (archive_at, archive_tries) WHERE archive_at IS NOT NULL AND lane <= 3;
