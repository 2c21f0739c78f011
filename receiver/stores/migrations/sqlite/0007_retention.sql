-- What is old goes in two steps: the body first, the rest of the event later.  What goes
-- is counted here, so that the ledger still adds up: the decisions of events that are gone
-- apart from the deliveries that are gone, as they were kept apart before.

CREATE TABLE pruned_events (
    source_id   INTEGER NOT NULL,
    decision_id INTEGER NOT NULL,
    events      INTEGER NOT NULL,
    fan_out     INTEGER NOT NULL,          -- of all of them
    PRIMARY KEY (source_id, decision_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE pruned_deliveries (
    source_id       INTEGER NOT NULL,
    destination_id  INTEGER NOT NULL,
    status          INTEGER NOT NULL,
    deliveries      INTEGER NOT NULL,
    routed          INTEGER NOT NULL,      -- those of them that no replay made
    PRIMARY KEY (source_id, destination_id, status)
) STRICT, WITHOUT ROWID;

CREATE TABLE pruning (                     -- how far it has come; nothing before is looked at again
    id          INTEGER PRIMARY KEY CHECK (id = 1),
    bodies_to   INTEGER NOT NULL,          -- the last event whose body was looked at
    events_to   INTEGER NOT NULL           -- the last event that was
) STRICT;
INSERT INTO pruning VALUES (1, 0, 0);

CREATE TABLE held_events (                 -- but these: something waited for them
    event_id    INTEGER PRIMARY KEY
) STRICT;
