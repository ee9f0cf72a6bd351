-- Runs, their jobs, every attempt at each job, and the steps of each attempt.
CREATE TABLE run (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    repo INTEGER NOT NULL,
    number INTEGER NOT NULL,
    push INTEGER,
    workflow_path TEXT NOT NULL,
    workflow_name TEXT NOT NULL,
    title TEXT NOT NULL,
    event TEXT NOT NULL,
    git_ref TEXT NOT NULL,
    sha TEXT NOT NULL,
    actor INTEGER NOT NULL,
    actor_name TEXT NOT NULL,
    untrusted INTEGER NOT NULL,
    attempt INTEGER NOT NULL DEFAULT 1,
    state TEXT NOT NULL CHECK (state IN ('held', 'waiting', 'running', 'finished')),
    outcome TEXT CHECK (outcome IN
        ('success', 'failure', 'cancelled', 'skipped', 'timed_out', 'lost')),
    reason TEXT NOT NULL DEFAULT '',
    cancel_asked_ms INTEGER,
    cancel_by TEXT,
    created_ms INTEGER NOT NULL,
    started_ms INTEGER,
    finished_ms INTEGER,
    CHECK ((state = 'finished') = (outcome IS NOT NULL)),
    UNIQUE (repo, number)
) STRICT;
CREATE INDEX run_push ON run (push) WHERE push IS NOT NULL;
CREATE INDEX run_open ON run (repo, number) WHERE state <> 'finished';
CREATE INDEX run_ref ON run (repo, git_ref, number);
CREATE INDEX run_sha ON run (repo, sha, number);
CREATE INDEX run_workflow ON run (repo, workflow_path, number);

-- What a run was planned from: large, and read only when its jobs are planned or handed out.
CREATE TABLE run_plan (
    run INTEGER PRIMARY KEY REFERENCES run (id) ON DELETE CASCADE,
    github TEXT NOT NULL,
    inputs TEXT NOT NULL,
    vars TEXT NOT NULL,
    problems TEXT NOT NULL,
    workflow TEXT
) STRICT;

-- Every distinct set of labels that some job asked for: normalised, sorted, one a line.
CREATE TABLE label_set (
    id INTEGER PRIMARY KEY,
    labels TEXT NOT NULL UNIQUE
) STRICT;

CREATE TABLE job (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    run INTEGER NOT NULL REFERENCES run (id) ON DELETE CASCADE,
    repo INTEGER NOT NULL,
    key TEXT NOT NULL,
    leg INTEGER NOT NULL,
    position INTEGER NOT NULL,
    name TEXT NOT NULL,
    needs TEXT NOT NULL,
    matrix TEXT,
    label_set INTEGER REFERENCES label_set (id),
    max_parallel INTEGER,
    fail_fast INTEGER NOT NULL DEFAULT 1,
    forgiven INTEGER NOT NULL DEFAULT 0,
    state TEXT NOT NULL CHECK (state IN
        ('held', 'blocked', 'queued', 'leased', 'running', 'finished')),
    -- The place in the queue. NULL while nobody may claim the job.
    turn INTEGER,
    outcome TEXT CHECK (outcome IN
        ('success', 'failure', 'cancelled', 'skipped', 'timed_out', 'lost')),
    reason TEXT NOT NULL DEFAULT '',
    -- The attempt at the whole run that this attempt belongs to.
    round INTEGER NOT NULL DEFAULT 1,
    attempt INTEGER NOT NULL DEFAULT 1,
    epoch INTEGER NOT NULL DEFAULT 0,
    runner TEXT,
    lease_until_ms INTEGER,
    cancel_asked_ms INTEGER,
    cancel_by TEXT,
    created_ms INTEGER NOT NULL,
    queued_ms INTEGER,
    started_ms INTEGER,
    finished_ms INTEGER,
    outputs TEXT NOT NULL DEFAULT '{}',
    -- What of its plan is this leg's own: JSON of the planned leg.
    spec TEXT,
    CHECK ((state = 'finished') = (outcome IS NOT NULL)),
    CHECK ((state IN ('leased', 'running')) = (lease_until_ms IS NOT NULL)),
    CHECK (turn IS NULL OR state = 'queued'),
    UNIQUE (run, key, leg)
) STRICT;
CREATE INDEX job_claim ON job (label_set, turn, id) WHERE turn IS NOT NULL;
CREATE INDEX job_turn ON job (repo, turn) WHERE turn IS NOT NULL;
CREATE INDEX job_lease ON job (lease_until_ms) WHERE lease_until_ms IS NOT NULL;
CREATE INDEX job_order ON job (turn, id) WHERE turn IS NOT NULL;
CREATE INDEX job_waiting ON job (state, id) WHERE state IN ('held', 'blocked', 'queued');

-- How far the queue has got: the turn of the job handed out last.
CREATE TABLE queue_turn (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    turn INTEGER NOT NULL
) STRICT;
INSERT INTO queue_turn VALUES (1, 0);

CREATE TABLE attempt (
    job INTEGER NOT NULL REFERENCES job (id) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    outcome TEXT CHECK (outcome IN
        ('success', 'failure', 'cancelled', 'skipped', 'timed_out', 'lost')),
    reason TEXT NOT NULL DEFAULT '',
    runner TEXT,
    queued_ms INTEGER,
    assigned_ms INTEGER,
    started_ms INTEGER,
    finished_ms INTEGER,
    outputs TEXT NOT NULL DEFAULT '{}',
    summary TEXT NOT NULL DEFAULT '',
    annotations TEXT NOT NULL DEFAULT '[]',
    receipt TEXT,
    PRIMARY KEY (job, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE step (
    job INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    number INTEGER NOT NULL,
    name TEXT NOT NULL,
    outcome TEXT CHECK (outcome IN
        ('success', 'failure', 'cancelled', 'skipped', 'timed_out', 'lost')),
    conclusion TEXT CHECK (conclusion IN
        ('success', 'failure', 'cancelled', 'skipped', 'timed_out', 'lost')),
    exit_code INTEGER,
    reason TEXT NOT NULL DEFAULT '',
    log_offset INTEGER NOT NULL,
    started_ms INTEGER NOT NULL,
    finished_ms INTEGER,
    PRIMARY KEY (job, attempt, number),
    FOREIGN KEY (job, attempt) REFERENCES attempt (job, number) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
