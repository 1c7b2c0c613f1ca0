-- What the gallery walks: single tasks by age, and those of them that are under way; batches by when they came and
-- ended. What a page of the gallery shows of a batch is one card, so a batch of 100,000 is not walked through.

CREATE INDEX tasks_single ON tasks (ref) WHERE lane <= 3;
CREATE INDEX tasks_underway ON tasks (ref) WHERE lane <= 3 AND state NOT IN ('completed', 'failed', 'lost', 'cancelled');
CREATE INDEX lanes_created ON lanes (created_at) WHERE batch = 1;
CREATE INDEX lanes_finished ON lanes (finished_at) WHERE finished_at IS NOT NULL;

-- The words of labels and prompts. Each task that has any gets a number of its own, because VACUUM may renumber the
-- rows of `tasks`; the numbers go up with the order in which the tasks came. The index holds no texts and no places
-- within them: it says which tasks have a word that begins so, for beginnings of up to ten characters without reading
-- more than the page that is asked for.

CREATE TABLE searched (
    id  INTEGER PRIMARY KEY,
    ref TEXT NOT NULL UNIQUE
) STRICT;

CREATE VIEW search_texts (id, label, prompt) AS
SELECT searched.id, tasks.label, tasks.prompt FROM searched JOIN tasks ON tasks.ref = searched.ref;

CREATE VIRTUAL TABLE search USING fts5 (
    label, prompt, content = 'search_texts', content_rowid = 'id', detail = none, columnsize = 0,
    prefix = '1 2 3 4 5 6 7 8 9 10', tokenize = 'unicode61 remove_diacritics 2'
);

INSERT INTO searched (ref) SELECT ref FROM tasks WHERE label IS NOT NULL OR prompt IS NOT NULL ORDER BY ref;
INSERT INTO search (search) VALUES ('rebuild');

CREATE TRIGGER search_insert AFTER INSERT ON tasks WHEN NEW.label IS NOT NULL OR NEW.prompt IS NOT NULL
BEGIN
    INSERT INTO searched (ref) VALUES (NEW.ref);
    INSERT INTO search (rowid, label, prompt) SELECT id, NEW.label, NEW.prompt FROM searched WHERE ref = NEW.ref;
END;

CREATE TRIGGER search_update AFTER UPDATE OF label, prompt ON tasks
WHEN OLD.label IS NOT NEW.label OR OLD.prompt IS NOT NEW.prompt
BEGIN
    INSERT INTO search (search, rowid, label, prompt)
        SELECT 'delete', id, OLD.label, OLD.prompt FROM searched WHERE ref = OLD.ref;
    INSERT INTO searched (ref) VALUES (NEW.ref) ON CONFLICT DO NOTHING;
    INSERT INTO search (rowid, label, prompt) SELECT id, NEW.label, NEW.prompt FROM searched WHERE ref = NEW.ref;
END;

CREATE TRIGGER search_delete AFTER DELETE ON tasks
BEGIN
    INSERT INTO search (search, rowid, label, prompt)
        SELECT 'delete', id, OLD.label, OLD.prompt FROM searched WHERE ref = OLD.ref;
    DELETE FROM searched WHERE ref = OLD.ref;
END;
