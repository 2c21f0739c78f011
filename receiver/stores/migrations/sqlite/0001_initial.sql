-- What is written once per event decides how fast webhooks are taken, so there is as
-- little of it as possible: integer keys, names kept once, no index that a derived
-- id can replace.  Times are milliseconds since 1970, UTC.

CREATE TABLE names (                  -- sources, providers, destinations, event types
    id      INTEGER PRIMARY KEY,
    name    TEXT NOT NULL UNIQUE
) STRICT;

CREATE TABLE decisions (              -- few: one per set of routes that matched
    id      INTEGER PRIMARY KEY,
    text    TEXT NOT NULL UNIQUE      -- JSON: {"routes": [[name, verdict]], "to": [name]}
) STRICT;

CREATE TABLE events (
    id          INTEGER PRIMARY KEY,  -- made from the time; the public id is this in hex
    source_id   INTEGER NOT NULL,
    provider_id INTEGER NOT NULL,
    type_id     INTEGER NOT NULL,
    state       INTEGER NOT NULL,
    final       INTEGER NOT NULL,
    decision_id INTEGER NOT NULL,
    fan_out     INTEGER NOT NULL,     -- deliveries decided; their ids follow the event's
    occurred_at INTEGER,
    received_at INTEGER NOT NULL,
    subject     TEXT NOT NULL,
    key         TEXT NOT NULL,
    origin      TEXT NOT NULL,
    facts       TEXT NOT NULL,        -- JSON: what a repeat must agree on
    query       TEXT NOT NULL,
    headers     TEXT NOT NULL,        -- one "name: value" a line
    bytes       INTEGER NOT NULL,     -- of the body as received
    codec       INTEGER NOT NULL,     -- how `body` is kept: 0 as received, 1 zlib
    body        BLOB NOT NULL
) STRICT;
CREATE INDEX events_subject ON events (subject);

CREATE TABLE event_keys (             -- kept for ever, whatever becomes of the event
    hash      BLOB PRIMARY KEY,       -- 16 bytes of source and key
    event_id  INTEGER NOT NULL,
    body_hash BLOB NOT NULL           -- 16 bytes
) STRICT, WITHOUT ROWID;

CREATE TABLE variants (               -- the same key again with another body
    event_id    INTEGER NOT NULL,
    body_hash   BLOB NOT NULL,
    kind        TEXT NOT NULL,
    received_at INTEGER NOT NULL,
    body        BLOB NOT NULL,
    PRIMARY KEY (event_id, body_hash)
) STRICT, WITHOUT ROWID;

CREATE TABLE deliveries (
    id              INTEGER PRIMARY KEY,   -- event id + 1, + 2, ... unless replayed
    event_id        INTEGER NOT NULL,
    destination_id  INTEGER NOT NULL,
    status          INTEGER NOT NULL,      -- 0 pending, 1 delivered, 2 dead, 3 cancelled
    attempts        INTEGER NOT NULL,
    due_at          INTEGER NOT NULL,
    round_attempts  INTEGER NOT NULL,
    round_started   INTEGER,               -- NULL: when it was made
    manual          INTEGER NOT NULL,      -- the next attempt was asked for by hand
    settled_at      INTEGER,
    replay_id       INTEGER,
    sent_as         INTEGER,               -- NULL: the event's own id
    progress        TEXT
) STRICT;
CREATE INDEX deliveries_due ON deliveries (destination_id, due_at) WHERE status = 0;
CREATE INDEX deliveries_retrying ON deliveries (destination_id)
    WHERE status = 0 AND attempts > 0;
CREATE INDEX deliveries_dead ON deliveries (destination_id) WHERE status = 2;
CREATE INDEX deliveries_replayed ON deliveries (event_id) WHERE replay_id IS NOT NULL;

CREATE TABLE attempts (
    delivery_id INTEGER NOT NULL,
    number      INTEGER NOT NULL,
    manual      INTEGER NOT NULL,
    started_at  INTEGER NOT NULL,
    duration_us INTEGER NOT NULL,
    result      INTEGER NOT NULL,
    status_code INTEGER,
    detail      TEXT,
    response    TEXT,
    PRIMARY KEY (delivery_id, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE replays (
    id          INTEGER PRIMARY KEY,
    created_at  INTEGER NOT NULL,
    asked       TEXT NOT NULL              -- JSON: what was asked for
) STRICT;

CREATE TABLE replayed (                    -- decided by a replay, counted as it is decided
    replay_id       INTEGER NOT NULL,
    source_id       INTEGER NOT NULL,
    destination_id  INTEGER NOT NULL,
    deliveries      INTEGER NOT NULL,
    PRIMARY KEY (replay_id, source_id, destination_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE pauses (
    id              INTEGER PRIMARY KEY,
    destination_id  INTEGER NOT NULL,
    started_at      INTEGER NOT NULL,
    ended_at        INTEGER,
    reason          TEXT NOT NULL
) STRICT;

CREATE TABLE rejections (
    id          INTEGER PRIMARY KEY,
    source      TEXT NOT NULL,
    code        TEXT NOT NULL,
    message     TEXT NOT NULL,
    received_at INTEGER NOT NULL,
    query       TEXT NOT NULL,
    headers     TEXT NOT NULL,
    body_bytes  INTEGER NOT NULL,
    body        BLOB NOT NULL
) STRICT;

CREATE TABLE heartbeat (                   -- written to prove that we can
    id INTEGER PRIMARY KEY CHECK (id = 1),
    at INTEGER NOT NULL
) STRICT;
