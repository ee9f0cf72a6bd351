-- Whether somebody imported this image by hand; the others were unpacked for a generation and go
-- with it.
ALTER TABLE image ADD COLUMN by_hand INTEGER NOT NULL DEFAULT 1 CHECK (by_hand IN (0, 1));

-- Images of generations that could not be unpacked, and why.
CREATE TABLE unpack_failure (
    digest TEXT PRIMARY KEY,
    reason TEXT NOT NULL,
    failed_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
