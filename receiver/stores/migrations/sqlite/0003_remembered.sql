-- What is found out while running and must outlive a restart, a text for each name.

CREATE TABLE remembered (
    name    TEXT PRIMARY KEY,
    text    TEXT NOT NULL,
    at      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
