-- Which subjects their senders' APIs are asked about next.  Only those that have not
-- ended are in the indexes.

ALTER TABLE subjects ADD COLUMN ask_note TEXT;   -- what came of it last, for people
DROP INDEX subjects_ask;
CREATE INDEX subjects_unasked ON subjects (source_id, heard_at)
    WHERE final = 0 AND next_ask_at IS NULL AND asked = 0;
CREATE INDEX subjects_ask_again ON subjects (source_id, next_ask_at)
    WHERE final = 0 AND next_ask_at IS NOT NULL;
