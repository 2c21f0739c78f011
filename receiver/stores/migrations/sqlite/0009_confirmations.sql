-- Events whose deliveries wait until the sender's API says the same.  Kept with the
-- deliveries, in one transaction, so that a crash forgets neither.

CREATE TABLE confirmations (
    event_id   INTEGER PRIMARY KEY,
    until      INTEGER NOT NULL,      -- then it is decided without the API
    verdict    INTEGER,               -- NULL: it waits; see rows.VERDICTS
    note       TEXT NOT NULL,         -- why, for people
    decided_at INTEGER
) STRICT;
CREATE INDEX confirmations_open ON confirmations (until) WHERE verdict IS NULL;
