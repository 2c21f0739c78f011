-- A replay goes on by itself, also after a restart, and can be watched and stopped.
-- Who changed what by hand is kept.

ALTER TABLE replays ADD COLUMN state INTEGER NOT NULL DEFAULT 1;   -- 0 running, 1 done, 2 cancelled
ALTER TABLE replays ADD COLUMN reached INTEGER NOT NULL DEFAULT 0; -- the last event gone through
ALTER TABLE replays ADD COLUMN progress REAL NOT NULL DEFAULT 1;   -- 0 to 1
ALTER TABLE replays ADD COLUMN events INTEGER NOT NULL DEFAULT 0;  -- gone through so far
ALTER TABLE replays ADD COLUMN due_at INTEGER;                     -- of the next delivery, if it has a rate
ALTER TABLE replays ADD COLUMN ended_at INTEGER;
CREATE INDEX replays_running ON replays (id) WHERE state = 0;

CREATE TABLE audit (
    id      INTEGER PRIMARY KEY,
    at      INTEGER NOT NULL,
    who     TEXT NOT NULL,
    what    TEXT NOT NULL,
    details TEXT NOT NULL          -- JSON
) STRICT;
