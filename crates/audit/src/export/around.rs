//! The range of an export: which entries, and the subtrees on both sides of them.

use std::convert::Infallible;
use std::time::SystemTime;

use evidence::manifest::Around;
use evidence::tree::{Frontier, Hash, Nodes};
use store::StoreError;

use super::{ExportError, Wanted};
use crate::seal::{Seal, SealError};
use crate::sql;

/// The entries of the range, with one more on each side where it is a range in time.
pub(super) fn range(db: &store::Db, wanted: &Wanted, size: u64) -> Result<(u64, u64), ExportError> {
    let find = |at: SystemTime| {
        sql::first_at(db, vocab::unix_ms(at).saturating_mul(1_000), size).map_err(StoreError::from)
    };
    let first = match wanted.since {
        Some(since) => find(since)?.saturating_sub(1),
        None => 0,
    };
    let end = match wanted.until {
        Some(until) => (find(until)? + 1).min(size),
        None => size,
    };
    Ok((first, end))
}

/// Nodes as they were recorded.
pub(super) struct Listed<'a>(pub(super) std::slice::Iter<'a, (u8, String)>);

impl Nodes for Listed<'_> {
    type Error = Infallible;

    fn node(&mut self, _: u8, _: u64) -> Result<Hash, Infallible> {
        let text = self.0.next().map_or("", |(_, text)| text.as_str());
        Ok(evidence::manifest::hash(text).unwrap_or_default())
    }
}

/// Records the nodes that somebody asks for.
struct Recorded<N> {
    inner: N,
    list: Vec<(u8, String)>,
}

impl<N: Nodes> Nodes for Recorded<N> {
    type Error = N::Error;

    fn node(&mut self, level: u8, index: u64) -> Result<Hash, N::Error> {
        let hash = self.inner.node(level, index)?;
        self.list.push((level, hex::encode(hash)));
        Ok(hash)
    }
}

pub(super) fn around(seal: &Seal, first: u64, end: u64, size: u64) -> Result<Around, SealError> {
    let mut before = Recorded {
        inner: seal.nodes(size),
        list: Vec::new(),
    };
    Frontier::at(&mut before, first)?;
    let mut after = Recorded {
        inner: seal.nodes(size),
        list: Vec::new(),
    };
    let mut frontier = Frontier::at(&mut seal.nodes(size), end)?;
    frontier.extend(&mut after, size)?;
    Ok(Around {
        before: before.list,
        after: after.list,
    })
}
