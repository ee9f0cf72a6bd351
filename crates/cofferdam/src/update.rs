//! The update of this program by the one that a bundle brought: checked beside the old one,
//! switched to by one rename, watched on trial by the old one, which takes its place back.
//!
//! Owns `PREFIX/versions/<sha256>/`, the links `PREFIX/current` and `PREFIX/previous`, and
//! `PREFIX/update.json`. Refuses what this host or this database could not run, and what goes
//! below the security epoch. Invariant: whatever is killed when, `current` names a whole program
//! that was checked, and the next start ends the update one way or the other.
//! Source: docs/update.md.

mod apply;
mod ask;
mod elf;
mod guard;
mod health;
mod judge;
mod keeper;
mod layout;
mod start;
mod status;
mod trial;

pub(crate) use apply::{Times, apply, rollback};
pub(crate) use guard::{guard, settle};
pub(crate) use health::Health;
pub(crate) use judge::describe;
pub(crate) use layout::{Prefix, Release};
pub(crate) use start::{at_start, say_why, tell_the_end};
pub(crate) use status::status;
pub(crate) use trial::{State, Trial};
