//! What was asked for and is not there, as rows.

use access::Principal;
use store::Db;
use supply::generation::Want;

use super::bundle_about::kind;
use super::pool::Known;
use crate::fault::Fault;
use crate::view::bundles::WantLine;
use crate::words;

/// Most rows that are shown.
pub(super) const SHOWN: usize = 200;

/// The first of `wants`, each with the job that asked first where the reader may see it.
pub(super) fn lines(
    db: &Db,
    reader: &Principal,
    wants: &[Want],
    now: std::time::SystemTime,
) -> Result<Vec<WantLine>, Fault> {
    let mut known = Known::default();
    let mut lines = Vec::new();
    for want in wants.iter().take(SHOWN) {
        let job = match want.first_job {
            Some(job) => known.job(db, reader, job)?,
            None => None,
        };
        lines.push(WantLine {
            kind: kind(&want.kind),
            name: words::plain(&want.name),
            asks: want.asks.to_string(),
            job,
            at: words::when(want.last_ms, now),
        });
    }
    Ok(lines)
}
