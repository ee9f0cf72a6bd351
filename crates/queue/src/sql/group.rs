//! Queries of concurrency groups.

use rusqlite::{OptionalExtension, Row, params};
use store::Db;
use vocab::{JobId, RepoId, RunId, RunNumber};

type Result<T> = rusqlite::Result<T>;

const MEMBER: &str = "SELECT c.id, c.repo, c.name, c.run, c.job, c.state, c.cancels, c.keeps,
    r.number FROM concurrency c JOIN run r ON r.id = c.run";

/// A run or a job in a concurrency group.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) id: i64,
    pub(crate) repo: RepoId,
    pub(crate) name: String,
    pub(crate) run: RunId,
    pub(crate) number: RunNumber,
    /// `None`: the run as a whole.
    pub(crate) job: Option<JobId>,
    pub(crate) stands: Stands,
    pub(crate) cancels: bool,
    pub(crate) keeps: bool,
}

/// How a member stands in its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stands {
    /// It has not come yet.
    Announced,
    Pending,
    Active,
}

fn member(row: &Row<'_>) -> Result<Member> {
    Ok(Member {
        id: row.get(0)?,
        repo: RepoId(row.get(1)?),
        name: row.get(2)?,
        run: RunId(row.get(3)?),
        job: row.get::<_, Option<i64>>(4)?.map(JobId),
        stands: match row.get_ref(5)?.as_str()? {
            "active" => Stands::Active,
            "pending" => Stands::Pending,
            _ => Stands::Announced,
        },
        cancels: row.get(6)?,
        keeps: row.get(7)?,
        number: RunNumber(row.get(8)?),
    })
}

pub(crate) fn announce_member(
    db: &Db,
    run: RunId,
    job: Option<JobId>,
    group: &workflow::Group,
) -> Result<()> {
    db.prepare_cached(
        "INSERT INTO concurrency (repo, name, run, job, state, cancels, keeps)
         SELECT repo, ?3, id, ?2, 'announced', ?4, ?5 FROM run WHERE id = ?1",
    )?
    .execute(params![
        run.0,
        job.map(|j| j.0),
        group.name.to_lowercase(),
        group.cancel_in_progress,
        group.keep_all
    ])?;
    Ok(())
}

/// The memberships of a run and of its jobs, in the order in which they came.
pub(crate) fn members_of(db: &Db, run: RunId) -> Result<Vec<Member>> {
    db.prepare_cached(&format!("{MEMBER} WHERE c.run = ?1 ORDER BY c.id"))?
        .query_map([run.0], member)?
        .collect()
}

/// Those who have come into a group and not ended, in that order.
pub(crate) fn members_in(db: &Db, repo: RepoId, name: &str) -> Result<Vec<Member>> {
    db.prepare_cached(&format!(
        "{MEMBER} WHERE c.repo = ?1 AND c.name = ?2 AND c.state <> 'announced' ORDER BY c.id"
    ))?
    .query_map(params![repo.0, name], member)?
    .collect()
}

/// The member has come: it waits behind all who are there.
pub(crate) fn member_comes(db: &Db, member: &Member) -> Result<()> {
    db.prepare_cached(
        "UPDATE concurrency SET state = 'pending',
         id = (SELECT max(id) + 1 FROM concurrency) WHERE id = ?1",
    )?
    .execute([member.id])?;
    Ok(())
}

/// Removes the members of `run` that have ended; returns the groups that they were in.
pub(crate) fn ended_members(db: &Db, run: RunId) -> Result<Vec<(RepoId, String)>> {
    db.prepare_cached(
        "DELETE FROM concurrency WHERE run = ?1 AND (
         (SELECT state FROM run WHERE id = ?1) = 'finished'
         OR (SELECT state FROM job WHERE id = job) = 'finished') RETURNING repo, name",
    )?
    .query_map([run.0], |row| Ok((RepoId(row.get(0)?), row.get(1)?)))?
    .collect()
}

/// Lets the first who waits in a group go, when nobody is before it; returns whose run that is.
pub(crate) fn let_next_go(db: &Db, repo: RepoId, name: &str) -> Result<Option<RunId>> {
    db.prepare_cached(
        "UPDATE concurrency SET state = 'active' WHERE id = (
            SELECT c.id FROM concurrency c WHERE c.repo = ?1 AND c.name = ?2
            AND c.state = 'pending' AND (SELECT state FROM run WHERE id = c.run) <> 'finished'
            AND (c.job IS NULL OR (SELECT state FROM job WHERE id = c.job) <> 'finished')
            ORDER BY c.id LIMIT 1)
         AND NOT EXISTS (SELECT 1 FROM concurrency c
            WHERE c.repo = ?1 AND c.name = ?2 AND c.state = 'active')
         RETURNING run",
    )?
    .query_row(params![repo.0, name], |row| row.get(0).map(RunId))
    .optional()
}
