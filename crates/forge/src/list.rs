//! Lists of repos, the most lately pushed first, page by page.

use store::Db;
use vocab::{OwnerId, RepoId, Sight};

use crate::{Repo, sql};

/// Which repos to list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Query {
    /// Only those that this sight reaches.
    pub sight: Sight,
    /// Only those in this namespace.
    pub owner: Option<OwnerId>,
    /// Only those whose `owner/name` has this in it, without regard to case.
    pub search: Option<String>,
    /// Only those after this place: for the next page.
    pub after: Option<Cursor>,
}

/// A place in the list. Text in links: `<ms>-<id>`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cursor {
    /// When the repo at this place was last active, in unix ms.
    pub active_ms: i64,
    /// That repo.
    pub id: RepoId,
}

impl Query {
    /// All that `sight` reaches, from the start.
    #[must_use]
    pub fn all(sight: Sight) -> Self {
        Self {
            sight,
            owner: None,
            search: None,
            after: None,
        }
    }
}

impl Cursor {
    /// The place of `repo`.
    #[must_use]
    pub fn of(repo: &Repo) -> Self {
        Self {
            active_ms: vocab::unix_ms(repo.pushed.unwrap_or(repo.created)),
            id: repo.id,
        }
    }
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.active_ms, self.id)
    }
}

impl std::str::FromStr for Cursor {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (active_ms, id) = text.split_once('-').unwrap_or((text, ""));
        Ok(Self {
            active_ms: active_ms.parse()?,
            id: id.parse()?,
        })
    }
}

/// The first `limit` repos of `query`.
pub fn list(db: &Db, query: &Query, limit: u32) -> rusqlite::Result<Vec<Repo>> {
    sql::list(db, query, limit)
}

/// How many repos `query` has on all pages.
pub fn count(db: &Db, query: &Query) -> rusqlite::Result<i64> {
    sql::count(db, query)
}
