-- additive
-- What each attempt at a job was given of a generation: the image it ran in, files, tools. The
-- digest is empty where there was more than is written down.
CREATE TABLE job_given (
    job INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    digest TEXT NOT NULL,
    PRIMARY KEY (job, attempt, digest)
) STRICT, WITHOUT ROWID;
CREATE INDEX job_given_by_digest ON job_given (digest, job);
