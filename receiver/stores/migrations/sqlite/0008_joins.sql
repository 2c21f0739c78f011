-- Events that wait for each other: a row for each join, and one for each of its parts.

CREATE TABLE joins (
    id       INTEGER PRIMARY KEY,
    name     TEXT NOT NULL,
    key      TEXT NOT NULL,
    begun_at INTEGER NOT NULL,
    due_at   INTEGER NOT NULL,
    state    INTEGER NOT NULL,        -- 0 open, 1 completed, 2 timed out, 3 failed
    expected INTEGER,
    UNIQUE (name, key)
) STRICT;
CREATE INDEX joins_due ON joins (due_at) WHERE state = 0;

CREATE TABLE join_parts (
    join_id   INTEGER NOT NULL,
    source_id INTEGER NOT NULL,
    subject   TEXT NOT NULL,
    event_id  INTEGER NOT NULL,
    failed    INTEGER NOT NULL,
    PRIMARY KEY (join_id, source_id, subject)
) STRICT, WITHOUT ROWID;
