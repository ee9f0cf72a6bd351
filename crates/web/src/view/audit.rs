//! What the templates of the audit log show.

use askama::Template;

use super::{Frame, Link, Row, State};
use crate::words::When;

#[derive(Template)]
#[template(path = "page/audit.html")]
pub(crate) struct Log {
    pub(crate) frame: Frame,
    pub(crate) tabs: Vec<Link>,
    pub(crate) seal: SealView,
    pub(crate) asked: Asked,
    pub(crate) problem: Option<String>,
    pub(crate) rows: Vec<EntryLine>,
    pub(crate) filtered: bool,
    pub(crate) paged: bool,
    /// How far one look went, where it did not find enough.
    pub(crate) reached: Option<String>,
    pub(crate) newest: String,
    pub(crate) older: Option<String>,
    pub(crate) export: String,
}

/// What somebody searches for, as they wrote it.
#[derive(Default)]
pub(crate) struct Asked {
    pub(crate) actor: String,
    pub(crate) action: String,
    pub(crate) object: String,
    pub(crate) since: String,
    pub(crate) until: String,
    pub(crate) outcomes: Vec<Chosen>,
    pub(crate) severities: Vec<Chosen>,
    pub(crate) families: Vec<String>,
}

pub(crate) struct Chosen {
    pub(crate) value: &'static str,
    pub(crate) name: &'static str,
    pub(crate) chosen: bool,
}

/// How the log is sealed.
pub(crate) struct SealView {
    pub(crate) state: State,
    pub(crate) entries: String,
    pub(crate) rows: Vec<Fact>,
    pub(crate) root: Option<String>,
    pub(crate) key: Option<String>,
    /// Why it takes no entries: what, since when, what to do.
    pub(crate) blocked: Option<Stopped>,
}

pub(crate) struct Stopped {
    pub(crate) title: &'static str,
    pub(crate) what: String,
    pub(crate) since: When,
    pub(crate) todo: String,
    pub(crate) refused: String,
}

/// A named fact, with a place where more is told.
#[derive(Default)]
pub(crate) struct Fact {
    pub(crate) name: String,
    pub(crate) text: String,
    pub(crate) href: Option<String>,
    /// Further entries about the same.
    pub(crate) more: Option<String>,
    pub(crate) at: Option<When>,
    pub(crate) code: bool,
    pub(crate) note: &'static str,
}

pub(crate) struct EntryLine {
    pub(crate) seq: i64,
    pub(crate) at: When,
    pub(crate) kind: String,
    pub(crate) words: String,
    pub(crate) who: String,
    pub(crate) object: String,
    pub(crate) object_href: Option<String>,
    pub(crate) state: State,
    pub(crate) why: String,
    pub(crate) grave: Option<State>,
}

#[derive(Template)]
#[template(path = "page/audit_entry.html")]
pub(crate) struct EntryPage {
    pub(crate) frame: Frame,
    pub(crate) seq: i64,
    pub(crate) kind: String,
    pub(crate) title: String,
    pub(crate) state: State,
    pub(crate) grave: Option<State>,
    pub(crate) at: When,
    pub(crate) facts: Vec<Fact>,
    pub(crate) details: Vec<Fact>,
    pub(crate) text: String,
    pub(crate) leaf: Hex,
    /// What the line hashes to now, where that is another leaf.
    pub(crate) changed: Option<String>,
    pub(crate) proof: Option<ProofView>,
    pub(crate) no_proof: String,
    pub(crate) earlier: Option<i64>,
    pub(crate) later: Option<i64>,
    pub(crate) noted: bool,
}

/// The way of an entry up to the signed root.
pub(crate) struct ProofView {
    pub(crate) holds: bool,
    pub(crate) size: String,
    pub(crate) count: String,
    pub(crate) steps: Vec<StepView>,
    pub(crate) root: Hex,
    pub(crate) note: String,
    pub(crate) key: String,
    pub(crate) check: String,
}

/// Two hashes side by side: the one that was come by, and the one that the proof brings.
pub(crate) struct StepView {
    pub(crate) level: usize,
    pub(crate) beside: Hex,
    pub(crate) own: Hex,
    pub(crate) left: bool,
}

#[derive(Template)]
#[template(path = "page/audit_export.html")]
pub(crate) struct ExportForm {
    pub(crate) frame: Frame,
    pub(crate) tabs: Vec<Link>,
    pub(crate) problem: Option<String>,
    pub(crate) asked: Asked,
    pub(crate) names: bool,
    pub(crate) earlier: String,
    pub(crate) here: Vec<JobLine>,
    pub(crate) before: Vec<ExportLine>,
}

/// An export that this process made or makes.
pub(crate) struct JobLine {
    pub(crate) href: String,
    pub(crate) name: String,
    pub(crate) state: State,
    pub(crate) who: String,
    pub(crate) at: When,
    pub(crate) size: String,
    pub(crate) file: Option<String>,
}

/// An export that the log tells of.
pub(crate) struct ExportLine {
    pub(crate) seq: i64,
    pub(crate) at: When,
    pub(crate) who: String,
    pub(crate) range: String,
    pub(crate) names: bool,
    pub(crate) size: String,
    pub(crate) sha256: String,
}

#[derive(Template)]
#[template(path = "page/audit_exporting.html")]
pub(crate) struct Exporting {
    pub(crate) frame: Frame,
    pub(crate) id: String,
    pub(crate) state: State,
    pub(crate) who: String,
    pub(crate) since: When,
    pub(crate) live: Option<u64>,
    pub(crate) done: u64,
    pub(crate) total: u64,
    pub(crate) percent: String,
    pub(crate) numbers: Vec<Row>,
    pub(crate) failed: Option<(String, String)>,
    pub(crate) made: Option<MadeView>,
}

pub(crate) struct MadeView {
    pub(crate) file: String,
    pub(crate) name: String,
    pub(crate) size: String,
    pub(crate) sha256: String,
    pub(crate) entry: i64,
    pub(crate) log_size: String,
    pub(crate) check: String,
}

#[derive(Template)]
#[template(path = "page/audit_controls.html")]
pub(crate) struct Controls {
    pub(crate) frame: Frame,
    pub(crate) tabs: Vec<Link>,
    pub(crate) problem: Option<String>,
    pub(crate) since: String,
    pub(crate) until: String,
    pub(crate) period: String,
    pub(crate) frameworks: Vec<Framework>,
}

pub(crate) struct Framework {
    pub(crate) name: String,
    pub(crate) id: String,
    pub(crate) summary: String,
    pub(crate) rows: Vec<ControlLine>,
}

pub(crate) struct ControlLine {
    pub(crate) control: String,
    pub(crate) title: String,
    pub(crate) kinds: Vec<Link>,
    pub(crate) count: String,
    pub(crate) state: State,
    pub(crate) words: &'static str,
    pub(crate) examples: Vec<u64>,
}

/// A hash in hex, and its first digits.
pub(crate) struct Hex(pub(crate) String);

impl Hex {
    pub(crate) fn of(hash: &[u8; 32]) -> Self {
        Self(hex::encode(hash))
    }

    pub(crate) fn short(&self) -> &str {
        self.0.get(..12).unwrap_or(&self.0)
    }
}

impl std::fmt::Display for Hex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}
