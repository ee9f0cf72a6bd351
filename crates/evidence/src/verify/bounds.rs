//! The dates of the entries of an export: in order, and on both sides of a range in time.

use serde_json::Value;

use crate::manifest::Manifest;

/// The entries on each side of a range in time: they show that nothing of it was left out, as
/// long as entries are dated in order.
#[derive(Default)]
pub(super) struct Bounds {
    first: Option<String>,
    last: Option<String>,
    newest: Option<(u64, String)>,
    /// Entries that were made while the clock stood behind the log, and the first of them.
    behind: Option<(u64, u64)>,
}

impl Bounds {
    /// Looks at an entry; what is wrong with its date, in words.
    pub(super) fn see(&mut self, seq: u64, value: &Value, manifest: &Manifest) -> Option<String> {
        let time = value["t"].as_str().map(str::to_owned);
        if value["clk"] == "floor" {
            let (count, first) = self.behind.unwrap_or((0, seq));
            self.behind = Some((count + 1, first));
        }
        if seq == manifest.first {
            self.first.clone_from(&time);
        }
        if seq + 1 == manifest.end {
            self.last.clone_from(&time);
        }
        let time = time?;
        if let Some((before, newest)) = &self.newest
            && *newest > time
        {
            return Some(format!(
                "entry {seq} is dated before entry {before}: no log dates its entries so, and the \
                 ends of a range in time prove nothing then"
            ));
        }
        self.newest = Some((seq, time));
        None
    }

    /// That the clock stood behind the log, which is no fault of the export.
    pub(super) fn told(&self) -> Option<String> {
        let (count, first) = self.behind?;
        Some(format!(
            "the clock was set back: {count} entries, the first of them {first}, were made while \
             it stood behind the log and have the time of the entry before"
        ))
    }

    /// Times are compared as texts: all have the same form.
    pub(super) fn missing(&self, manifest: &Manifest) -> Option<&'static str> {
        let mut asked = manifest.since.iter().chain(&manifest.until);
        if !asked.all(|time| same_form(time)) {
            return Some("names a time in another form than those of entries");
        }
        if let Some(since) = &manifest.since
            && manifest.first > 0
            && self.first.as_ref().is_none_or(|first| first >= since)
        {
            return Some("no entry from before the time shows that the range begins at its start");
        }
        if let Some(until) = &manifest.until
            && manifest.end < manifest.size
            && self.last.as_ref().is_none_or(|last| last < until)
        {
            return Some("no entry from after the time shows that the range goes on to its end");
        }
        None
    }
}

/// Whether `time` is written as entries write theirs.
fn same_form(time: &str) -> bool {
    const FORM: &[u8] = b"0000-00-00T00:00:00.000000Z";
    let fits = |(is, form): (u8, &u8)| is == *form || (*form == b'0' && is.is_ascii_digit());
    time.len() == FORM.len() && time.bytes().zip(FORM).all(fits)
}
