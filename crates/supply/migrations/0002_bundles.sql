-- Every bundle that was verified here, and how far its import came.
CREATE TABLE bundle (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    product TEXT NOT NULL,
    channel TEXT NOT NULL,
    seq INTEGER NOT NULL,
    content TEXT NOT NULL,
    -- Digest of MANIFEST.json, which is kept as a blob, as are the signatures (JSON).
    manifest TEXT NOT NULL UNIQUE,
    signers TEXT NOT NULL,
    root INTEGER NOT NULL,
    created TEXT NOT NULL,
    not_after TEXT NOT NULL,
    -- Bytes of its volumes, and how many of them this appliance lacked.
    size_bytes INTEGER NOT NULL,
    missing_bytes INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('verified', 'staging', 'ready', 'committed', 'aborted')),
    seen_ms INTEGER NOT NULL,
    committed_ms INTEGER
) STRICT;

-- What all imports so far make available, under one number.
CREATE TABLE generation (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    bundle INTEGER NOT NULL REFERENCES bundle (id),
    -- The one that was active before; undo goes back to it.
    parent INTEGER REFERENCES generation (id),
    epoch INTEGER NOT NULL,
    made_ms INTEGER NOT NULL,
    -- Whether its blobs are kept.
    retained INTEGER NOT NULL DEFAULT 1 CHECK (retained IN (0, 1))
) STRICT;
CREATE INDEX generation_by_bundle ON generation (bundle);

-- One row: what is active now, and the floors that nothing goes below.
CREATE TABLE supply_head (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    generation INTEGER REFERENCES generation (id),
    epoch INTEGER NOT NULL DEFAULT 0,
    -- Newest signed day that was seen, YYYY-MM-DD.
    day TEXT NOT NULL DEFAULT ''
) STRICT;
INSERT INTO supply_head (one) VALUES (1);

CREATE TABLE item (
    generation INTEGER NOT NULL REFERENCES generation (id) ON DELETE CASCADE,
    key TEXT NOT NULL,
    kind TEXT NOT NULL,
    name TEXT NOT NULL COLLATE NOCASE,
    -- The item as the manifest says it, JSON.
    body TEXT NOT NULL,
    PRIMARY KEY (generation, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX item_by_name ON item (generation, kind, name);

-- Every blob that a generation needs.
CREATE TABLE generation_blob (
    generation INTEGER NOT NULL REFERENCES generation (id) ON DELETE CASCADE,
    digest TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    PRIMARY KEY (generation, digest)
) STRICT, WITHOUT ROWID;
CREATE INDEX generation_blob_by_digest ON generation_blob (digest);

-- Names that jobs asked for and no generation had: what the need slip is made of.
CREATE TABLE want (
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    asks INTEGER NOT NULL,
    first_job INTEGER,
    first_ms INTEGER NOT NULL,
    last_ms INTEGER NOT NULL,
    PRIMARY KEY (kind, name)
) STRICT, WITHOUT ROWID;

-- The chain of root statements, from the one that was pinned at install.
CREATE TABLE root_statement (
    number INTEGER PRIMARY KEY,
    body TEXT NOT NULL,
    signatures TEXT NOT NULL,
    accepted_ms INTEGER NOT NULL
) STRICT;

-- The highest sequence that was imported in each channel.
CREATE TABLE channel_floor (
    product TEXT NOT NULL,
    channel TEXT NOT NULL,
    seq INTEGER NOT NULL,
    PRIMARY KEY (product, channel)
) STRICT, WITHOUT ROWID;
