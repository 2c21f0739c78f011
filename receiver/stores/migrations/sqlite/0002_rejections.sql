-- Refused requests have separate room by how much they had to show for themselves, and
-- remember what they became when they were verified again.

ALTER TABLE rejections ADD COLUMN kind INTEGER NOT NULL DEFAULT 1;   -- 0 unsigned, 1 signed, 2 verified
ALTER TABLE rejections ADD COLUMN client TEXT NOT NULL DEFAULT '';   -- the address, where the source asks for it
ALTER TABLE rejections ADD COLUMN event_id INTEGER;                  -- the event it became at last
