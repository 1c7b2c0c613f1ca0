-- The last reading of the wall clock beside a clock that cannot leap, and until when nothing irreversible is done.

CREATE TABLE clock (
    id         INTEGER PRIMARY KEY CHECK (id = 1),
    boot_id    TEXT NOT NULL,
    boot_ms    INTEGER NOT NULL,
    wall_ms    INTEGER NOT NULL,
    held_until INTEGER NOT NULL,           -- boot_ms
    leap_ms    INTEGER NOT NULL
) STRICT;

-- A database with a history, whose clock nobody has compared: an hour's hold, as after a start of the machine.
INSERT INTO clock (id, boot_id, boot_ms, wall_ms, held_until, leap_ms)
    SELECT 1, '', 0, 0, 0, 0 WHERE EXISTS (SELECT 1 FROM tasks);
