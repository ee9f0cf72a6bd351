-- Runs and jobs that may not run side by side: the members of the groups of each repo, in the order
-- in which they came. A member is there until its run or job has ended.
CREATE TABLE concurrency (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    repo INTEGER NOT NULL,
    -- In lower case, since case does not matter.
    name TEXT NOT NULL,
    run INTEGER NOT NULL REFERENCES run (id) ON DELETE CASCADE,
    -- NULL: the run as a whole.
    job INTEGER REFERENCES job (id) ON DELETE CASCADE,
    -- Announced members have not come yet: their push is not complete.
    state TEXT NOT NULL CHECK (state IN ('announced', 'pending', 'active')),
    cancels INTEGER NOT NULL,
    keeps INTEGER NOT NULL
) STRICT;
CREATE INDEX concurrency_group ON concurrency (repo, name, id);
CREATE INDEX concurrency_run ON concurrency (run);
CREATE UNIQUE INDEX concurrency_active ON concurrency (repo, name) WHERE state = 'active';
