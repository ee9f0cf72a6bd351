-- additive
-- SSH keys. Each is a person's, or one repo's (a deploy key); none is two people's or repos'.
CREATE TABLE ssh_key (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    fingerprint TEXT NOT NULL UNIQUE,
    text        TEXT NOT NULL,
    label       TEXT NOT NULL,
    user        INTEGER REFERENCES user (id),
    repo        INTEGER,
    writes      INTEGER NOT NULL CHECK (writes IN (0, 1)),
    created_ms  INTEGER NOT NULL,
    used_ms     INTEGER,
    denied_ms   INTEGER,
    CHECK ((user IS NULL) <> (repo IS NULL))
) STRICT;
CREATE INDEX ssh_key_user ON ssh_key (user);
CREATE INDEX ssh_key_repo ON ssh_key (repo);
