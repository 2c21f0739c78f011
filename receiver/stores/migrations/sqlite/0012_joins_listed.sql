-- Joins by what has become of them, the newest first: the index has their ids as well.
-- This was once one of two steps with the number 11: stores may have it.

CREATE INDEX IF NOT EXISTS joins_by_state ON joins (state);
