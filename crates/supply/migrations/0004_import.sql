-- How long the payload of a bundle took to write, for the estimates of later imports.
ALTER TABLE bundle ADD COLUMN staged_bytes INTEGER NOT NULL DEFAULT 0;
ALTER TABLE bundle ADD COLUMN staged_ms INTEGER NOT NULL DEFAULT 0;

-- Blobs that were found damaged or missing and have not come back: the need slip names them.
CREATE TABLE damaged (
    digest TEXT PRIMARY KEY,
    found TEXT NOT NULL CHECK (found IN ('medium', 'store', 'missing')),
    found_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- One row: how far the scrub has come, so that it goes on after a restart.
CREATE TABLE scrub (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    -- The last digest that was checked; empty before the first.
    cursor TEXT NOT NULL DEFAULT '',
    blobs INTEGER NOT NULL DEFAULT 0,
    bytes INTEGER NOT NULL DEFAULT 0,
    bad INTEGER NOT NULL DEFAULT 0,
    started_ms INTEGER,
    ended_ms INTEGER
) STRICT;
INSERT INTO scrub (one) VALUES (1);
