//! Searching a long log: the index that narrows most, and an end to how far one look goes.
//!
//! A look at what is rare goes through one index from end to end; a look at what is common in
//! each of its parts and rare in all of them together goes back a bounded way and says how far.

use std::ops::Range;
use std::time::SystemTime;

use store::Db;

use crate::read::fits_kind;
use crate::sql::{self, Narrow, Way};
use crate::{Filter, Kind, Line, Seq};

/// What is found in fewer entries than this is rare: its index is read from end to end.
const RARE: u32 = 20_000;
/// Entries looked through at a time where nothing is rare.
const WINDOW: i64 = 50_000;
/// Windows that one look goes through.
const WINDOWS: i64 = 8;

/// What a search found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Found {
    /// The newest entries that fit, newest first.
    pub lines: Vec<Line>,
    /// Where the look ended early: what stands before this entry was not looked at.
    pub reached: Option<Seq>,
}

/// The newest `limit` entries that fit `filter`, newest first, as far as one look goes.
///
/// Going on is the same search with [`Filter::before`] set to the last entry found, or to
/// [`Found::reached`]. [`Filter::after`] is taken as the lower end.
pub fn search(db: &Db, filter: &Filter, limit: u32) -> rusqlite::Result<Found> {
    let Some(plan) = Plan::of(db, filter)? else {
        return Ok(Found::default());
    };
    plan.newest(db, limit, WINDOWS)
}

/// The same without an end to the look.
pub(crate) fn newest(db: &Db, filter: &Filter, limit: u32) -> rusqlite::Result<Vec<Line>> {
    match Plan::of(db, filter)? {
        Some(plan) => Ok(plan.newest(db, limit, i64::MAX)?.lines),
        None => Ok(Vec::new()),
    }
}

/// The oldest `limit` entries after [`Filter::after`] that fit, newest first.
pub(crate) fn following(db: &Db, filter: &Filter, limit: u32) -> rusqlite::Result<Vec<Line>> {
    let Some(plan) = Plan::of(db, filter)? else {
        return Ok(Vec::new());
    };
    let mut lines = plan.read(db, plan.range.clone(), limit, true)?;
    lines.sort_by_key(|line| line.seq);
    lines.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    lines.reverse();
    Ok(lines)
}

/// How many entries fit.
pub(crate) fn count(db: &Db, filter: &Filter) -> rusqlite::Result<u64> {
    let mut count = 0;
    if let Some(plan) = Plan::of(db, filter)? {
        plan.each(plan.range.clone(), false, |look| {
            count += sql::counted(db, look)?;
            Ok(())
        })?;
    }
    Ok(count)
}

/// The entries of a range in time, as places in the log.
pub(crate) fn range(
    db: &Db,
    since: Option<SystemTime>,
    until: Option<SystemTime>,
) -> rusqlite::Result<Range<i64>> {
    let end = sql::end(db)?;
    let find = |at: SystemTime| {
        let size = u64::try_from(end).unwrap_or(0);
        let found = sql::first_at(db, vocab::unix_ms(at).saturating_mul(1_000), size)?;
        Ok::<_, rusqlite::Error>(i64::try_from(found).unwrap_or(i64::MAX))
    };
    let from = since.map(find).transpose()?.unwrap_or(0);
    let to = until.map(find).transpose()?.unwrap_or(end);
    Ok(from..to.max(from))
}

/// How a filter is looked for.
struct Plan<'a> {
    filter: &'a Filter,
    /// Kinds that are in the log and wanted; none where all are.
    kinds: Option<Vec<String>>,
    range: Range<i64>,
    way: Way,
    /// Whether the way is short enough to go to its end.
    short: bool,
}

impl<'a> Plan<'a> {
    /// None where nothing can fit.
    fn of(db: &Db, filter: &'a Filter) -> rusqlite::Result<Option<Self>> {
        let mut range = range(db, filter.since, filter.until)?;
        if let Some(before) = filter.before {
            range.end = range.end.min(before.0);
        }
        if let Some(after) = filter.after {
            range.start = range.start.max(after.0.saturating_add(1));
        }
        let kinds = kinds(db, filter)?;
        if range.start >= range.end || kinds.as_ref().is_some_and(Vec::is_empty) {
            return Ok(None);
        }
        let (way, short) = way(db, filter, kinds.as_deref())?;
        Ok(Some(Self {
            filter,
            kinds,
            range,
            way,
            short,
        }))
    }

    fn newest(&self, db: &Db, limit: u32, windows: i64) -> rusqlite::Result<Found> {
        let most = usize::try_from(limit).unwrap_or(usize::MAX);
        let mut found = Found::default();
        let mut end = self.range.end;
        let lowest = match self.short {
            true => self.range.start,
            false => end.saturating_sub(WINDOW.saturating_mul(windows)),
        };
        while end > self.range.start.max(lowest) && found.lines.len() < most {
            let start = match self.short {
                true => self.range.start,
                false => self.range.start.max(end - WINDOW),
            };
            let lines = self.read(db, start..end, limit, false)?;
            found.lines.extend(lines);
            end = start;
        }
        found.lines.sort_by_key(|line| std::cmp::Reverse(line.seq));
        let whole = found.lines.len() >= most;
        found.lines.truncate(most);
        found.reached = (!whole && end > self.range.start).then_some(Seq(end));
        Ok(found)
    }

    /// At most `limit` entries of each part of the way; the caller merges and cuts.
    fn read(
        &self,
        db: &Db,
        range: Range<i64>,
        limit: u32,
        ascending: bool,
    ) -> rusqlite::Result<Vec<Line>> {
        let mut lines = Vec::new();
        self.each(range, ascending, |look| {
            lines.extend(sql::narrowed(db, look, limit)?);
            Ok(())
        })?;
        Ok(lines)
    }

    /// Calls `work` with each part of the way: one, or one for each kind.
    fn each(
        &self,
        range: Range<i64>,
        ascending: bool,
        mut work: impl FnMut(&Narrow<'_>) -> rusqlite::Result<()>,
    ) -> rusqlite::Result<()> {
        let narrow = Narrow {
            range,
            kinds: self.kinds.as_deref(),
            actor: self.filter.actor.as_deref(),
            object: self.filter.object.as_deref(),
            went: self.filter.went,
            generation: self.filter.generation,
            way: self.way,
            ascending,
        };
        let Some(kinds) = self.kinds.as_deref().filter(|_| self.way == Way::Kind) else {
            return work(&narrow);
        };
        kinds.chunks(1).try_for_each(|kind| {
            work(&Narrow {
                kinds: Some(kind),
                ..narrow.clone()
            })
        })
    }
}

/// The kinds in the log that are wanted; none where the filter asks for no kind.
fn kinds(db: &Db, filter: &Filter) -> rusqlite::Result<Option<Vec<String>>> {
    if filter.kind.is_none() && filter.severity.is_none() {
        return Ok(None);
    }
    let grave = |kind: &str| match (filter.severity, kind.parse::<Kind>()) {
        (Some(least), Ok(known)) => known.severity() >= least,
        // A kind of a later version is not hidden.
        _ => true,
    };
    let wanted = filter.kind.as_deref().unwrap_or("*");
    let mut kinds = sql::kinds(db)?;
    kinds.retain(|kind| fits_kind(wanted, kind) && grave(kind));
    Ok(Some(kinds))
}

/// The index to go by, and whether that way is short enough to go to its end.
fn way(db: &Db, filter: &Filter, kinds: Option<&[String]>) -> rusqlite::Result<(Way, bool)> {
    let amiss = filter.went.is_some_and(crate::Went::amiss);
    let mut ways = Vec::new();
    if let Some(object) = &filter.object {
        ways.push((Way::Object, object.as_str()));
    }
    if let Some(actor) = &filter.actor {
        ways.push((Way::Actor, actor.as_str()));
    }
    if amiss {
        ways.push((Way::Amiss, ""));
    }
    match kinds {
        Some([one]) => ways.push((Way::Kind, one.as_str())),
        Some(_) if ways.is_empty() => ways.push((Way::Kind, "")),
        _ => {}
    }
    let others = kinds.is_some_and(|kinds| kinds.len() > 1) && !ways.is_empty();
    let Some((first, _)) = ways.first() else {
        // What went well is nearly everything.
        return Ok((Way::Rows, filter.generation.is_none()));
    };
    if ways.len() == 1 && (*first == Way::Kind || !others) {
        return Ok((*first, true));
    }
    for (way, value) in &ways {
        if sql::rarer_than(db, *way, value, RARE)? {
            return Ok((*way, true));
        }
    }
    Ok((*first, false))
}

#[cfg(test)]
mod tests;
