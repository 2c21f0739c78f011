-- Events of a subject are found by its steps.  An index of events by subject had to be
-- written at a random place for each webhook, before it was answered.

CREATE TABLE subject_events (         -- events that are followed, and are no step
    subject  TEXT NOT NULL,
    event_id INTEGER NOT NULL,
    PRIMARY KEY (subject, event_id)
) STRICT, WITHOUT ROWID;

INSERT INTO subject_events            -- none, where nothing was followed before
SELECT subject, id FROM events
WHERE id <= (SELECT max(event_id) FROM cursors) AND subject <> ''
AND id NOT IN (SELECT event_id FROM subject_steps);

DROP INDEX events_subject;

-- What needs somebody: credits that do not add up, or no end.
CREATE INDEX subjects_wrong ON subjects (id) WHERE troubles & 96;

-- Credits are added up from an index alone, in its order.
DROP INDEX subjects_ended;
CREATE INDEX subjects_ended ON subjects (ended_at / 86400000, source_id, ended_at,
    reserved, settled, refunded, troubles, final) WHERE final = 1;
