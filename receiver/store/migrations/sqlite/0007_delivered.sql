-- What of a message was delivered by a try that failed, as short hashes: the next try leaves it out.

ALTER TABLE sends ADD COLUMN delivered TEXT;
