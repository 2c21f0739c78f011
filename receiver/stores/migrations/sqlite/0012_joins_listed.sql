-- Joins by what has become of them, the newest first: the index has their ids as well.

CREATE INDEX joins_by_state ON joins (state);
