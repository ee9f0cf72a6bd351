//! What the templates of bundles and keys show.

use askama::Template;

use super::{Fold, Frame, Link, Readme, Row, State, Teach};
use crate::words::When;

#[derive(Template)]
#[template(path = "page/bundles.html")]
pub(crate) struct Bundles {
    pub(crate) frame: Frame,
    pub(crate) active: Option<Active>,
    pub(crate) running: Option<String>,
    pub(crate) teach: Option<Teach>,
    pub(crate) media: Vec<MediumLine>,
    pub(crate) folders: String,
    pub(crate) history: Vec<GenerationLine>,
    pub(crate) unfinished: Vec<UnfinishedLine>,
    pub(crate) can_undo: bool,
    pub(crate) upkeep: Upkeep,
}

/// What is served now.
pub(crate) struct Active {
    pub(crate) name: String,
    pub(crate) href: String,
    pub(crate) age: String,
    pub(crate) state: State,
    pub(crate) rows: Vec<Row>,
}

/// A bundle that lies below a media folder, not yet looked at.
pub(crate) struct MediumLine {
    pub(crate) name: String,
    pub(crate) path: String,
    pub(crate) href: String,
}

pub(crate) struct GenerationLine {
    pub(crate) generation: i64,
    pub(crate) name: String,
    pub(crate) href: String,
    pub(crate) content: String,
    pub(crate) state: State,
    pub(crate) signers: String,
    pub(crate) size: String,
    pub(crate) items: String,
    pub(crate) at: When,
    pub(crate) who: String,
}

pub(crate) struct UnfinishedLine {
    pub(crate) name: String,
    pub(crate) href: String,
    pub(crate) state: State,
    pub(crate) missing: String,
    pub(crate) at: When,
}

/// Collections and scrubs, with what came of the last ones.
pub(crate) struct Upkeep {
    pub(crate) collected: String,
    pub(crate) collected_at: Option<When>,
    pub(crate) scrubbed: String,
    pub(crate) scrubbed_at: Option<When>,
    pub(crate) damaged: Vec<String>,
    pub(crate) damaged_count: String,
    pub(crate) scrub: Option<Live>,
}

/// Work that goes on while the page is looked at.
pub(crate) struct Live {
    pub(crate) version: u64,
    pub(crate) done: u64,
    pub(crate) total: u64,
    pub(crate) text: String,
}

#[derive(Template)]
#[template(path = "page/custody.html")]
pub(crate) struct Custody {
    pub(crate) frame: Frame,
    pub(crate) name: String,
    pub(crate) href: String,
    pub(crate) state: State,
    pub(crate) content: String,
    pub(crate) signed: Vec<Row>,
    pub(crate) facts: Vec<Row>,
    pub(crate) steps: Vec<CustodyStep>,
}

/// One step of a chain of custody.
pub(crate) struct CustodyStep {
    pub(crate) seq: i64,
    pub(crate) state: State,
    pub(crate) who: String,
    pub(crate) at: String,
    pub(crate) what: String,
}

/// Why something was not done: the code, what, and what to do.
pub(crate) struct Refused {
    pub(crate) code: String,
    pub(crate) text: String,
    pub(crate) todo: Option<String>,
}

#[derive(Template)]
#[template(path = "page/bundle_look.html")]
pub(crate) struct Look {
    pub(crate) frame: Frame,
    pub(crate) medium: String,
    pub(crate) refused: Option<Refused>,
    pub(crate) verdict: Option<Verdict>,
}

/// What the signed part says, and what it would do here.
pub(crate) struct Verdict {
    pub(crate) name: String,
    pub(crate) state: State,
    pub(crate) took: String,
    pub(crate) manifest: String,
    pub(crate) import: Option<ImportForm>,
    pub(crate) override_href: Option<String>,
    pub(crate) facts: Vec<Row>,
    pub(crate) signed: Vec<Row>,
    pub(crate) comment: String,
    pub(crate) strays: Vec<String>,
    pub(crate) changes: Changes,
    pub(crate) lacking: Vec<WantLine>,
    pub(crate) lacking_count: String,
}

pub(crate) struct ImportForm {
    pub(crate) word: &'static str,
    /// The path exactly as it was given.
    pub(crate) medium: String,
    pub(crate) quorum_override: bool,
    pub(crate) note: String,
}

/// What differs from what is served now.
#[derive(Default)]
pub(crate) struct Changes {
    pub(crate) against: String,
    pub(crate) counts: Vec<Row>,
    pub(crate) rows: Vec<ChangeRow>,
    pub(crate) more: usize,
}

pub(crate) struct ChangeRow {
    pub(crate) state: State,
    pub(crate) kind: &'static str,
    pub(crate) name: String,
    pub(crate) origin: String,
    pub(crate) from: Option<Value>,
    pub(crate) to: Option<Value>,
    pub(crate) note: &'static str,
    pub(crate) touches: Option<Touches>,
}

/// A value, short, with all of it for who wants to compare.
pub(crate) struct Value {
    pub(crate) short: String,
    pub(crate) full: String,
}

/// Workflows that use it.
pub(crate) struct Touches {
    pub(crate) title: String,
    pub(crate) breaks: bool,
    pub(crate) workflows: Vec<UseLine>,
}

#[derive(Clone)]
pub(crate) struct UseLine {
    pub(crate) repo: String,
    pub(crate) href: String,
    pub(crate) path: String,
    pub(crate) name: String,
}

pub(crate) struct WantLine {
    pub(crate) kind: &'static str,
    pub(crate) name: String,
    pub(crate) asks: String,
    pub(crate) job: Option<Link>,
    pub(crate) at: When,
}

#[derive(Template)]
#[template(path = "page/bundle_import.html")]
pub(crate) struct Import {
    pub(crate) frame: Frame,
    pub(crate) at: Option<ImportView>,
}

pub(crate) struct ImportView {
    pub(crate) name: String,
    pub(crate) state: State,
    pub(crate) who: String,
    pub(crate) since: When,
    pub(crate) live: Option<u64>,
    pub(crate) done: u64,
    pub(crate) total: u64,
    pub(crate) percent: String,
    pub(crate) numbers: Vec<Row>,
    pub(crate) phases: Vec<PhaseLine>,
    pub(crate) refused: Option<Refused>,
    pub(crate) again: Option<String>,
    pub(crate) notices: Vec<String>,
    pub(crate) active: Option<Link>,
    pub(crate) summary: Vec<Row>,
}

pub(crate) struct PhaseLine {
    pub(crate) name: &'static str,
    pub(crate) state: State,
    pub(crate) note: String,
}

#[derive(Template)]
#[template(path = "page/bundle.html")]
pub(crate) struct Bundle {
    pub(crate) frame: Frame,
    pub(crate) name: String,
    pub(crate) content: String,
    pub(crate) state: State,
    pub(crate) facts: Vec<Row>,
    pub(crate) signed: Vec<Row>,
    pub(crate) comment: String,
    pub(crate) generations: Vec<GenerationLine>,
    pub(crate) volumes: Vec<Row>,
    pub(crate) items: Vec<Fold>,
    pub(crate) notes: Option<Readme>,
    pub(crate) collected: bool,
    pub(crate) custody: String,
    pub(crate) told: Vec<ToldLine>,
}

/// An entry of the audit log.
pub(crate) struct ToldLine {
    pub(crate) seq: i64,
    pub(crate) kind: String,
    pub(crate) who: String,
    pub(crate) what: String,
    pub(crate) at: String,
}

/// Asks before something is done.
#[derive(Template)]
#[template(path = "page/bundle_confirm.html")]
pub(crate) struct Confirm {
    pub(crate) frame: Frame,
    pub(crate) title: String,
    pub(crate) text: String,
    pub(crate) refused: Option<Refused>,
    pub(crate) facts: Vec<Row>,
    pub(crate) changes: Option<Changes>,
    pub(crate) action: &'static str,
    pub(crate) choice: Option<(&'static str, &'static str)>,
    pub(crate) button: String,
}

#[derive(Template)]
#[template(path = "page/keys.html")]
pub(crate) struct Keys {
    pub(crate) frame: Frame,
    pub(crate) pinned: Option<Print>,
    pub(crate) statements: Vec<StatementView>,
    pub(crate) slip: SlipKeyView,
    pub(crate) authority: bool,
    pub(crate) address: String,
}

/// A fingerprint in groups of four digits, as it stands on paper.
pub(crate) struct Print {
    pub(crate) groups: Vec<String>,
    pub(crate) whole: String,
}

pub(crate) struct StatementView {
    pub(crate) number: u64,
    pub(crate) site: String,
    pub(crate) created: String,
    pub(crate) accepted: When,
    pub(crate) print: Print,
    pub(crate) in_force: bool,
    pub(crate) roles: Vec<RoleView>,
    pub(crate) revoked: Vec<String>,
    pub(crate) body: String,
}

pub(crate) struct RoleView {
    pub(crate) title: &'static str,
    pub(crate) need: String,
    pub(crate) keys: Vec<KeyLine>,
}

pub(crate) struct KeyLine {
    pub(crate) name: String,
    pub(crate) id: String,
    pub(crate) key: String,
    pub(crate) state: State,
}

pub(crate) struct SlipKeyView {
    pub(crate) id: String,
    pub(crate) public: String,
}
