-- Namespaces: the first half of a repo's path. name_key is the name in lower case.
CREATE TABLE owner (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    name       TEXT NOT NULL,
    name_key   TEXT NOT NULL UNIQUE,
    kind       TEXT NOT NULL CHECK (kind IN ('person', 'group')),
    user       INTEGER,
    created_ms INTEGER NOT NULL
) STRICT;

-- A deleted repo keeps its row, so that what points at it stays readable; its name is free.
-- active_ms is the last push, or the creation before the first.
CREATE TABLE repo (
    id             INTEGER PRIMARY KEY AUTOINCREMENT,
    owner          INTEGER NOT NULL REFERENCES owner (id),
    name           TEXT NOT NULL,
    name_key       TEXT NOT NULL,
    visibility     TEXT NOT NULL,
    default_branch TEXT NOT NULL,
    description    TEXT NOT NULL,
    created_ms     INTEGER NOT NULL,
    pushed_ms      INTEGER,
    active_ms      INTEGER NOT NULL,
    size_bytes     INTEGER NOT NULL DEFAULT 0,
    deleted_ms     INTEGER
) STRICT;
CREATE UNIQUE INDEX repo_name ON repo (owner, name_key) WHERE deleted_ms IS NULL;
CREATE INDEX repo_active ON repo (active_ms DESC, id DESC) WHERE deleted_ms IS NULL;

-- A push, from the intent that is written before any ref moves.
CREATE TABLE push (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    repo     INTEGER NOT NULL REFERENCES repo (id),
    user     INTEGER,
    actor    TEXT NOT NULL,
    at_ms    INTEGER NOT NULL,
    state    TEXT NOT NULL CHECK (state IN ('intent', 'done', 'withdrawn')),
    ended_ms INTEGER,
    entry    INTEGER NOT NULL
) STRICT;
CREATE INDEX push_repo ON push (repo, id);
CREATE INDEX push_open ON push (id) WHERE state = 'intent';

CREATE TABLE push_ref (
    push   INTEGER NOT NULL REFERENCES push (id),
    place  INTEGER NOT NULL,
    name   TEXT NOT NULL,
    old    TEXT,
    new    TEXT,
    kind   TEXT NOT NULL CHECK (kind IN ('create', 'update', 'force', 'delete')),
    status TEXT NOT NULL CHECK (status IN ('pending', 'moved', 'refused')),
    why    TEXT,
    PRIMARY KEY (push, place)
) STRICT, WITHOUT ROWID;
