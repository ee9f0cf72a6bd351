-- The log. A row's seq is its leaf's index in the tree; the other columns repeat parts of the
-- line so that they can be searched.
CREATE TABLE audit_entry (
    seq    INTEGER PRIMARY KEY,
    t_us   INTEGER NOT NULL,
    kind   TEXT NOT NULL,
    actor  TEXT NOT NULL,
    object TEXT NOT NULL,
    out    TEXT NOT NULL,
    line   TEXT NOT NULL,
    leaf   BLOB NOT NULL
) STRICT;
CREATE INDEX audit_entry_kind ON audit_entry (kind, seq);
CREATE INDEX audit_entry_actor ON audit_entry (actor, seq);
CREATE INDEX audit_entry_object ON audit_entry (object, seq);

-- Where the log ends, so that a tail that was cut off is missed.
CREATE TABLE audit_head (
    id   INTEGER PRIMARY KEY CHECK (id = 0),
    size INTEGER NOT NULL,
    t_us INTEGER NOT NULL,
    leaf BLOB NOT NULL
) STRICT;
INSERT INTO audit_head VALUES (0, 0, 0, x'');

-- What opens the commitments of a line. Deleting a row hides the value for ever; the line stays.
CREATE TABLE audit_opening (
    seq   INTEGER NOT NULL,
    field TEXT NOT NULL,
    salt  BLOB NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (seq, field)
) STRICT, WITHOUT ROWID;
