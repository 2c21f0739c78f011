-- Events whose senders' APIs have to say so, too, before they count.  A row stays until
-- those who follow events have made of the decision what there is to make of it.

CREATE TABLE unconfirmed_events (
    event_id   INTEGER PRIMARY KEY,
    standing   INTEGER,               -- what was decided; NULL: nothing yet
    decided_at INTEGER
) STRICT;
CREATE INDEX unconfirmed_decided ON unconfirmed_events (decided_at, event_id)
    WHERE decided_at IS NOT NULL;
INSERT INTO unconfirmed_events (event_id)
    SELECT event_id FROM confirmations WHERE verdict IS NULL
    AND event_id > (SELECT coalesce(max(event_id), 0) FROM cursors);

ALTER TABLE subject_steps ADD COLUMN standing INTEGER NOT NULL DEFAULT 0;
