-- Destinations that get each subject's deliveries in order, one at a time.  For all
-- others the new columns stay NULL and the new indexes empty.

CREATE TABLE ordered (                -- destinations whose deliveries stand in lines
    destination_id  INTEGER PRIMARY KEY,
    block           INTEGER NOT NULL  -- 1: a dead delivery holds back those behind it
) STRICT;

ALTER TABLE deliveries ADD COLUMN line INTEGER;  -- which one it stands in; NULL: none
ALTER TABLE deliveries ADD COLUMN turn INTEGER;  -- 1: it is next in its line; else NULL
CREATE INDEX deliveries_line ON deliveries (destination_id, line, turn)
    WHERE line IS NOT NULL;
CREATE INDEX deliveries_turn ON deliveries (destination_id, due_at) WHERE turn = 1;
CREATE INDEX deliveries_blocking ON deliveries (destination_id)
    WHERE line IS NOT NULL AND status = 2;

-- What was asked for by hand, for a destination that is given nothing else now.
CREATE INDEX deliveries_by_hand ON deliveries (destination_id, due_at)
    WHERE status = 0 AND manual > 0;
