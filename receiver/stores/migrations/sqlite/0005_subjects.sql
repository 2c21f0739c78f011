-- What became of each batch, task or job, folded from its events by a follower, whose
-- cursor is kept with what it made of them.

CREATE TABLE cursors (
    name     TEXT PRIMARY KEY,
    event_id INTEGER NOT NULL         -- the last event whose results are kept
) STRICT, WITHOUT ROWID;

CREATE TABLE subjects (
    id            INTEGER PRIMARY KEY,  -- its first event's; made from the time anyway
    source_id     INTEGER NOT NULL,
    provider_id   INTEGER NOT NULL,
    subject       TEXT NOT NULL,
    kind          TEXT NOT NULL,
    state         INTEGER NOT NULL,
    final         INTEGER NOT NULL,
    begun_at      INTEGER NOT NULL,
    heard_at      INTEGER NOT NULL,   -- the last event came, or it was registered
    ended_at      INTEGER,
    events        INTEGER NOT NULL,
    troubles      INTEGER NOT NULL,   -- a bit each
    request_id    TEXT,
    reserved      ANY,                -- credits: a whole number or a fraction
    settled       ANY,
    refunded      ANY,
    memory        TEXT NOT NULL,      -- JSON: what the next event needs
    check_at      INTEGER,            -- when its credits are looked at again
    stalled_at    INTEGER,            -- when it was told of as stalled
    registered_at INTEGER,            -- when somebody said that it must exist
    asked         INTEGER NOT NULL DEFAULT 0,   -- how often its provider was asked
    next_ask_at   INTEGER,
    UNIQUE (source_id, subject)
) STRICT;
CREATE INDEX subjects_silent ON subjects (source_id, heard_at)
    WHERE final = 0 AND stalled_at IS NULL;
CREATE INDEX subjects_open ON subjects (id) WHERE final = 0;
CREATE INDEX subjects_ended ON subjects (ended_at) WHERE final = 1;
CREATE INDEX subjects_check ON subjects (check_at) WHERE check_at IS NOT NULL;
CREATE INDEX subjects_ask ON subjects (next_ask_at) WHERE next_ask_at IS NOT NULL;
CREATE INDEX subjects_troubled ON subjects (id) WHERE troubles <> 0;
CREATE INDEX subjects_request ON subjects (request_id) WHERE request_id IS NOT NULL;

CREATE TABLE subject_steps (
    subject_id  INTEGER NOT NULL,
    event_id    INTEGER NOT NULL,     -- the event may have been pruned
    type_id     INTEGER NOT NULL,
    state       INTEGER NOT NULL,
    final       INTEGER NOT NULL,
    occurred_at INTEGER,
    received_at INTEGER NOT NULL,
    origin      TEXT NOT NULL,
    PRIMARY KEY (subject_id, event_id)
) STRICT, WITHOUT ROWID;
