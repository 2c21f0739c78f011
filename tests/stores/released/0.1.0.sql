-- A store as version 0.1.0 left it: six events of two subjects, some delivered.
PRAGMA auto_vacuum = INCREMENTAL;
PRAGMA application_id = 1919121010;
PRAGMA journal_mode = WAL;
BEGIN TRANSACTION;
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
INSERT INTO "attempts" VALUES(70378743400394753,1,0,1769248800000,12500,0,200,'said so',NULL);
INSERT INTO "attempts" VALUES(70378743400394754,1,0,1769248800000,12500,2,200,'said so',NULL);
INSERT INTO "attempts" VALUES(70378745497546753,1,0,1769248800000,12500,2,200,'said so',NULL);
CREATE TABLE decisions (              -- few: one per set of routes that matched
    id      INTEGER PRIMARY KEY,
    text    TEXT NOT NULL UNIQUE      -- JSON: {"routes": [[name, verdict]], "to": [name]}
) STRICT;
INSERT INTO "decisions" VALUES(1,'{"routes":[["all","matched"],["none","type"]],"to":["crm","ops"]}');
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
INSERT INTO "deliveries" VALUES(70378743400394753,70378743400394752,3,1,1,1769248801000,1,NULL,0,1769248801000,NULL,NULL,NULL);
INSERT INTO "deliveries" VALUES(70378743400394754,70378743400394752,4,0,1,1769248860000,1,NULL,0,NULL,NULL,NULL,NULL);
INSERT INTO "deliveries" VALUES(70378745497546753,70378745497546752,3,2,1,1769248801000,1,NULL,0,1769248801000,NULL,NULL,NULL);
INSERT INTO "deliveries" VALUES(70378745497546754,70378745497546752,4,0,0,1769248801000,0,NULL,0,NULL,NULL,NULL,NULL);
INSERT INTO "deliveries" VALUES(70378747594698753,70378747594698752,3,0,0,1769248802000,0,NULL,0,NULL,NULL,NULL,NULL);
INSERT INTO "deliveries" VALUES(70378747594698754,70378747594698752,4,0,0,1769248802000,0,NULL,0,NULL,NULL,NULL,NULL);
INSERT INTO "deliveries" VALUES(70378749691850753,70378749691850752,3,0,0,1769248803000,0,NULL,0,NULL,NULL,NULL,NULL);
INSERT INTO "deliveries" VALUES(70378749691850754,70378749691850752,4,0,0,1769248803000,0,NULL,0,NULL,NULL,NULL,NULL);
INSERT INTO "deliveries" VALUES(70378751789002753,70378751789002752,3,0,0,1769248804000,0,NULL,0,NULL,NULL,NULL,NULL);
INSERT INTO "deliveries" VALUES(70378751789002754,70378751789002752,4,0,0,1769248804000,0,NULL,0,NULL,NULL,NULL,NULL);
INSERT INTO "deliveries" VALUES(70378753886154753,70378753886154752,3,0,0,1769248805000,0,NULL,0,NULL,NULL,NULL,NULL);
INSERT INTO "deliveries" VALUES(70378753886154754,70378753886154752,4,0,0,1769248805000,0,NULL,0,NULL,NULL,NULL,NULL);
INSERT INTO "deliveries" VALUES(70378753886154756,70378743400394752,3,0,0,1769248800000,0,NULL,0,NULL,70378753886154755,NULL,NULL);
CREATE TABLE event_keys (             -- kept for ever, whatever becomes of the event
    hash      BLOB PRIMARY KEY,       -- 16 bytes of source and key
    event_id  INTEGER NOT NULL,
    body_hash BLOB NOT NULL           -- 16 bytes
) STRICT, WITHOUT ROWID;
INSERT INTO "event_keys" VALUES(X'0922E91C64296318434B3D7AEE024905',70378745497546752,X'53925BE849EED07E1D1226D6091FEB3B');
INSERT INTO "event_keys" VALUES(X'1C86F70BFC301589F2C102BACC59617A',70378753886154752,X'E860A781BFD201CBC1EAEF1D117ACADF');
INSERT INTO "event_keys" VALUES(X'29505EDBF5FEA70EF65BEB56B8653895',70378743400394752,X'1EB18006451E8953ED61D00AC78B6543');
INSERT INTO "event_keys" VALUES(X'5A84E1C7DA72F99E008D21EBE78DF325',70378747594698752,X'5618E4B36DBD46B3D1A300D3FB093F6D');
INSERT INTO "event_keys" VALUES(X'6077D3396C88433DBB5323181FED1A96',70378751789002752,X'E63B1358C0304310430978127C4C34C2');
INSERT INTO "event_keys" VALUES(X'6F76CCDA62DD51F2540669AFC1A3DC1B',70378749691850752,X'15AFCFE191DBD8487FB2105091D16A9E');
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
INSERT INTO "events" VALUES(70378743400394752,1,1,2,3,1,1,2,NULL,1769248800000,'bat_1','k0','webhook','{"total":0}','{}','content-type: application/json',8,0,X'7B226E223A20307D');
INSERT INTO "events" VALUES(70378745497546752,1,1,2,3,1,1,2,NULL,1769248801000,'bat_1','k1','webhook','{"total":1}','{}','content-type: application/json',8,0,X'7B226E223A20317D');
INSERT INTO "events" VALUES(70378747594698752,1,1,2,3,1,1,2,NULL,1769248802000,'bat_1','k2','webhook','{"total":2}','{}','content-type: application/json',8,0,X'7B226E223A20327D');
INSERT INTO "events" VALUES(70378749691850752,1,1,2,3,1,1,2,NULL,1769248803000,'bat_1','k3','webhook','{"total":3}','{}','content-type: application/json',8,0,X'7B226E223A20337D');
INSERT INTO "events" VALUES(70378751789002752,1,1,2,3,1,1,2,NULL,1769248804000,'bat_2','k4','webhook','{"total":4}','{}','content-type: application/json',8,0,X'7B226E223A20347D');
INSERT INTO "events" VALUES(70378753886154752,1,1,2,3,1,1,2,NULL,1769248805000,'bat_2','k5','webhook','{"total":5}','{}','content-type: application/json',8,0,X'7B226E223A20357D');
CREATE TABLE heartbeat (                   -- written to prove that we can
    id INTEGER PRIMARY KEY CHECK (id = 1),
    at INTEGER NOT NULL
) STRICT;
CREATE TABLE names (                  -- sources, providers, destinations, event types
    id      INTEGER PRIMARY KEY,
    name    TEXT NOT NULL UNIQUE
) STRICT;
INSERT INTO "names" VALUES(1,'sora2');
INSERT INTO "names" VALUES(2,'batch.completed');
INSERT INTO "names" VALUES(3,'crm');
INSERT INTO "names" VALUES(4,'ops');
CREATE TABLE pauses (
    id              INTEGER PRIMARY KEY,
    destination_id  INTEGER NOT NULL,
    started_at      INTEGER NOT NULL,
    ended_at        INTEGER,
    reason          TEXT NOT NULL
) STRICT;
INSERT INTO "pauses" VALUES(1,4,1769248800000,NULL,'maintenance');
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
INSERT INTO "rejections" VALUES(70378753886154757,'sora2','signature_mismatch','the signature is not ours',1769248800000,'{"a":"b"}','x-signature: v1=00',2,X'7B7D');
CREATE TABLE replayed (                    -- decided by a replay, counted as it is decided
    replay_id       INTEGER NOT NULL,
    source_id       INTEGER NOT NULL,
    destination_id  INTEGER NOT NULL,
    deliveries      INTEGER NOT NULL,
    PRIMARY KEY (replay_id, source_id, destination_id)
) STRICT, WITHOUT ROWID;
INSERT INTO "replayed" VALUES(70378753886154755,1,3,1);
CREATE TABLE replays (
    id          INTEGER PRIMARY KEY,
    created_at  INTEGER NOT NULL,
    asked       TEXT NOT NULL              -- JSON: what was asked for
) STRICT;
INSERT INTO "replays" VALUES(70378753886154755,1769248800000,'{"events":1}');
CREATE TABLE variants (               -- the same key again with another body
    event_id    INTEGER NOT NULL,
    body_hash   BLOB NOT NULL,
    kind        TEXT NOT NULL,
    received_at INTEGER NOT NULL,
    body        BLOB NOT NULL,
    PRIMARY KEY (event_id, body_hash)
) STRICT, WITHOUT ROWID;
CREATE INDEX events_subject ON events (subject);
CREATE INDEX deliveries_due ON deliveries (destination_id, due_at) WHERE status = 0;
CREATE INDEX deliveries_retrying ON deliveries (destination_id)
    WHERE status = 0 AND attempts > 0;
CREATE INDEX deliveries_dead ON deliveries (destination_id) WHERE status = 2;
CREATE INDEX deliveries_replayed ON deliveries (event_id) WHERE replay_id IS NOT NULL;
COMMIT;
PRAGMA user_version = 1;
