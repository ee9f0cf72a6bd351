//! Repos and pushes: what exists, whose it is, and which refs were moved by whom.
//!
//! Owns tables `owner`, `repo`, `push` and `push_ref`, and the directories `DATA/repos/<id>.git`
//! (what is in them is the `git` crate's). Never judges who may: see `access`. Invariants: a
//! repo's row exists only after its directory is durable; a ref moves only after the intent of
//! its push is; an open intent is settled at the next start.
//! Source: design/architecture.md, "One push".

mod disk;
mod list;
mod oid;
mod push;
mod recover;
mod repo;
mod sql;

pub use disk::{Disk, DiskError, Init, Swept, remove_files, repo_dir, sweep};
pub use list::{Cursor, Query, count, list};
pub use oid::{Oid, OidError};
pub use push::{
    Push, PushError, PushRef, PushState, RefKind, RefStatus, RefUpdate, begin_push, complete_push,
    push, pushes, record_fetch, record_refused_push, withdraw_push,
};
pub use recover::{Look, LookError, RecoverError, Settled, open_intents, recover};
pub use repo::{
    ChangeError, CreateError, Founder, Namespace, NamespaceKind, NewRepo, Repo, by_id, by_path,
    create_repo, delete_repo, namespace, rename_repo, set_size, set_visibility,
};

/// The tables of this crate.
pub const MIGRATIONS: store::Migrations = store::Migrations {
    owner: "forge",
    files: &[("0001_repos", include_str!("../migrations/0001_repos.sql"))],
};
