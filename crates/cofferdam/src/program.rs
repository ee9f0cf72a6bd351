//! Which build this is: its version, and the tables that it knows.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use store::{Migrations, Schema};

/// What it was built from: the workspace's lock file.
pub(crate) const LOCK: &str = include_str!("../../../Cargo.lock");

/// One build of the program.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    /// `MAJOR.MINOR.PATCH`.
    pub version: &'static str,
    /// The tables of every crate, lowest floor first.
    pub migrations: &'static [Migrations],
}

impl Program {
    /// The build of this source tree.
    pub const THIS: Self = Self {
        version: env!("CARGO_PKG_VERSION"),
        migrations: &[
            audit::MIGRATIONS,
            access::MIGRATIONS,
            forge::MIGRATIONS,
            queue::MIGRATIONS,
            supply::MIGRATIONS,
        ],
    };

    /// How many migrations of each crate it knows.
    #[must_use]
    pub fn schema(&self) -> Schema {
        self.migrations
            .iter()
            .map(|one| (one.owner.to_owned(), count(one)))
            .collect()
    }

    /// What each migration asks of older programs.
    #[must_use]
    pub fn needs(&self) -> BTreeMap<String, Vec<i64>> {
        self.migrations
            .iter()
            .map(|one| (one.owner.to_owned(), one.needs()))
            .collect()
    }
}

fn count(one: &Migrations) -> i64 {
    i64::try_from(one.files.len()).unwrap_or(i64::MAX)
}

static PROGRAM: OnceLock<Program> = OnceLock::new();

/// Says once, at the start, which build this is.
pub(crate) fn set(program: Program) {
    if PROGRAM.set(program).is_err() {
        tracing::warn!("the program was named twice; the first name stays");
    }
}

/// The build that runs.
pub(crate) fn this() -> &'static Program {
    PROGRAM.get_or_init(|| Program::THIS)
}
