CREATE TABLE user (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    name         TEXT NOT NULL,
    name_key     TEXT NOT NULL UNIQUE,
    role         TEXT NOT NULL CHECK (role IN ('member', 'admin')),
    password     TEXT,
    created_ms   INTEGER NOT NULL,
    suspended_ms INTEGER
) STRICT;

-- Failed sign-ins in a row by name, whether or not there is such a user.
CREATE TABLE login_failure (
    name_key        TEXT PRIMARY KEY,
    failures        INTEGER NOT NULL,
    last_ms         INTEGER NOT NULL,
    locked_until_ms INTEGER NOT NULL,
    turned_away     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX login_failure_last ON login_failure (last_ms);

-- Browser sessions; only the hash of the cookie is kept.
CREATE TABLE session (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    user       INTEGER NOT NULL REFERENCES user (id),
    hash       BLOB NOT NULL UNIQUE,
    created_ms INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX session_user ON session (user);
CREATE INDEX session_expires ON session (expires_ms);

-- Access tokens; only the hash of the text is kept. A revoked one keeps its row.
CREATE TABLE token (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    user       INTEGER NOT NULL REFERENCES user (id),
    label      TEXT NOT NULL,
    hash       BLOB NOT NULL UNIQUE,
    scopes     TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    expires_ms INTEGER,
    used_ms    INTEGER,
    denied_ms  INTEGER,
    revoked_ms INTEGER
) STRICT;
CREATE INDEX token_user ON token (user);

CREATE TABLE collaborator (
    repo     INTEGER NOT NULL,
    user     INTEGER NOT NULL REFERENCES user (id),
    level    TEXT NOT NULL CHECK (level IN ('read', 'write', 'admin')),
    added_ms INTEGER NOT NULL,
    PRIMARY KEY (repo, user)
) STRICT, WITHOUT ROWID;
CREATE INDEX collaborator_user ON collaborator (user);

-- Secrets, sealed with the key whose id stands beside them. Repo 0 is the whole instance.
CREATE TABLE secret (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    repo       INTEGER NOT NULL,
    name       TEXT NOT NULL,
    key_id     BLOB NOT NULL,
    nonce      BLOB NOT NULL,
    sealed     BLOB NOT NULL,
    updated_ms INTEGER NOT NULL,
    UNIQUE (repo, name)
) STRICT;

-- Values that are no secrets, by the same names. Repo 0 is the whole instance.
CREATE TABLE variable (
    repo       INTEGER NOT NULL,
    name       TEXT NOT NULL,
    value      TEXT NOT NULL,
    updated_ms INTEGER NOT NULL,
    PRIMARY KEY (repo, name)
) STRICT, WITHOUT ROWID;
