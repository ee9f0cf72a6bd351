//! What the templates of the catalogue show.

use askama::Template;

use super::bundles::{UseLine, WantLine};
use super::{Frame, Link, Row, State, Teach};

#[derive(Template)]
#[template(path = "page/catalogue.html")]
pub(crate) struct Catalogue {
    pub(crate) frame: Frame,
    pub(crate) under: Vec<Row>,
    pub(crate) tabs: Vec<Tab>,
    pub(crate) kind: &'static str,
    pub(crate) query: String,
    pub(crate) shelves: Vec<Shelf>,
    pub(crate) empty: Option<Teach>,
    pub(crate) nothing: Option<String>,
    pub(crate) shows_wants: bool,
    pub(crate) wants: Vec<WantLine>,
    pub(crate) wants_more: usize,
    pub(crate) can_export: bool,
}

pub(crate) struct Tab {
    pub(crate) link: Link,
    pub(crate) count: usize,
}

/// Everything of one kind.
pub(crate) struct Shelf {
    pub(crate) id: &'static str,
    pub(crate) title: &'static str,
    pub(crate) count: String,
    pub(crate) what: &'static str,
    pub(crate) command: String,
    pub(crate) shows_uses: bool,
    pub(crate) rows: Vec<Thing>,
    pub(crate) more: Option<Link>,
}

/// One thing that is served.
pub(crate) struct Thing {
    pub(crate) name: String,
    pub(crate) sub: String,
    pub(crate) href: Option<String>,
    pub(crate) state: Option<State>,
    pub(crate) labels: Vec<String>,
    /// What it is made of: refs, files, a digest; short and in full.
    pub(crate) parts: Vec<Part>,
    pub(crate) parts_title: Option<String>,
    pub(crate) size: String,
    pub(crate) origin: String,
    pub(crate) checked: String,
    pub(crate) since: Option<Link>,
    pub(crate) used: Vec<UseLine>,
    pub(crate) used_title: String,
}

pub(crate) struct Part {
    pub(crate) name: String,
    pub(crate) short: String,
    pub(crate) full: String,
}

#[derive(Template)]
#[template(path = "page/document.html")]
pub(crate) struct Document {
    pub(crate) frame: Frame,
    pub(crate) name: String,
    pub(crate) under: Vec<Row>,
    pub(crate) html: Option<String>,
    pub(crate) text: Option<String>,
    pub(crate) note: Option<String>,
}
