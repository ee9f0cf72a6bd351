-- additive
-- Attempts that have ended and whose statements are still to be made and signed.
CREATE TABLE attest_due (
    job INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    PRIMARY KEY (job, attempt)
) STRICT, WITHOUT ROWID;

-- The signed statements of each attempt, as they are handed out. They outlive their repo: the audit
-- log names them.
CREATE TABLE attestation (
    job INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    provenance BLOB NOT NULL,
    receipt BLOB NOT NULL,
    -- The public key that signed them, in PEM.
    key TEXT NOT NULL,
    -- The audit entry that has their digests.
    seq INTEGER NOT NULL,
    PRIMARY KEY (job, attempt)
) STRICT;
