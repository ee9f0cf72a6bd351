//! Reading the log: the last entries that fit a filter, one entry, and where the log ends.

use std::time::SystemTime;

use store::Db;

use crate::{Out, Seq, search, sql};

/// Which entries to list. The default lets all through.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Filter {
    /// Not before this.
    pub since: Option<SystemTime>,
    /// Before this.
    pub until: Option<SystemTime>,
    /// A kind (`git.push`) or its start (`git.`, `bundle.*`).
    pub kind: Option<String>,
    /// Kinds that matter at least so much, from 1 to 5; see [`crate::Kind::severity`].
    pub severity: Option<u8>,
    /// How it went.
    pub went: Option<Went>,
    /// A tagged actor: `u:17`, `job:4`, `uid:0`, `system`.
    pub actor: Option<String>,
    /// A tagged object: `r:5`.
    pub object: Option<String>,
    /// Only what was done while this generation was active.
    pub generation: Option<i64>,
    /// Only entries before this one: for the next page.
    pub before: Option<Seq>,
    /// Only entries after this one, the oldest of them: for whoever follows.
    pub after: Option<Seq>,
}

/// How something went, as far as a search asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Went {
    /// Exactly so.
    As(Out),
    /// It was refused or it failed.
    Amiss,
}

impl Went {
    /// Whether only what was refused or failed is asked for.
    pub(crate) fn amiss(self) -> bool {
        self != Self::As(Out::Success)
    }
}

/// Whether `kind` is `wanted`: the same, or one that begins so where `wanted` ends in `*` or `.`.
pub(crate) fn fits_kind(wanted: &str, kind: &str) -> bool {
    match wanted.strip_suffix('*') {
        Some(start) => kind.starts_with(start),
        None if wanted.ends_with('.') => kind.starts_with(wanted),
        None => kind == wanted,
    }
}

/// How many entries of one kind there are, and which.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Kinds {
    /// The kind, as lines have it.
    pub kind: String,
    /// How many.
    pub count: u64,
    /// The first of them.
    pub first: Vec<u64>,
}

/// One entry as it was written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Line {
    /// Its place in the log.
    pub seq: Seq,
    /// The exact line, without a line end.
    pub text: String,
    /// SHA-256(0x00 || text), as it was stored.
    pub leaf: [u8; 32],
}

/// Where the log ends.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Head {
    /// How many entries there are.
    pub size: i64,
    /// The time of the last one, in microseconds since 1970-01-01 UTC; 0 before the first.
    pub t_us: i64,
    /// The leaf hash of the last one; empty before the first.
    pub leaf: Vec<u8>,
}

/// The newest `limit` entries that fit `filter`, newest first; with [`Filter::after`] the oldest
/// of those.
pub fn list(db: &Db, filter: &Filter, limit: u32) -> rusqlite::Result<Vec<Line>> {
    match filter.after {
        Some(_) => search::following(db, filter, limit),
        None => search::newest(db, filter, limit),
    }
}

/// How many entries of each kind there are from `since` until `until`, with the first `examples`
/// of each. Reads the index of kinds alone.
pub fn by_kind(
    db: &Db,
    since: Option<SystemTime>,
    until: Option<SystemTime>,
    examples: u32,
) -> rusqlite::Result<Vec<Kinds>> {
    sql::by_kind(db, &search::range(db, since, until)?, examples)
}

/// How many entries fit `filter`.
pub fn count(db: &Db, filter: &Filter) -> rusqlite::Result<u64> {
    search::count(db, filter)
}

/// The tagged actors that have entries, in the order of their texts, at most `most`.
pub fn actors(db: &Db, most: u32) -> rusqlite::Result<Vec<String>> {
    sql::actors(db, most)
}

/// The entry at `seq`.
pub fn line(db: &Db, seq: Seq) -> rusqlite::Result<Option<Line>> {
    sql::line(db, seq.0)
}

/// Where the log ends.
pub fn head(db: &Db) -> rusqlite::Result<Head> {
    sql::head(db)
}

/// The personal values behind the commitments of an entry, `(field, value)`, as far as they
/// were not redacted.
pub fn openings(db: &Db, seq: Seq) -> rusqlite::Result<Vec<(String, String)>> {
    Ok(sql::openings(db, seq.0)?
        .into_iter()
        .map(|(field, _, value)| (field, value))
        .collect())
}
