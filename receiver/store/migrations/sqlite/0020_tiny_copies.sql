-- A second, smaller thumbnail of each picture, for pages that show many. Earlier copies have none.

ALTER TABLE copies ADD COLUMN tiny TEXT;
