-- A batch's row is looked for in all other batches, before it is paid for once more.

CREATE INDEX tasks_row_key ON tasks (row_key, lane) WHERE row_key IS NOT NULL;
