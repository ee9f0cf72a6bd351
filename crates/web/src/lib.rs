//! HTTP: the JSON API, git's smart transport, pages, and streams of what goes on.
//!
//! Owns the listeners' protocol, `ui/` and the order of a push. A request passes one table of
//! routes and one authorisation before any handler sees it. Never runs a job, never decides who
//! may: see `pool` and `access`. Invariant: a push is acknowledged only after its refs and its
//! rows are durable; what a crash cut short is settled by [`recover`].
//! Source: design/architecture.md, "One push"; docs/api.md.

mod ansi;
mod api;
mod assets;
mod config;
mod detail;
mod events;
mod exports;
mod facilities;
mod fault;
mod git_http;
mod git_service;
mod git_ssh;
mod guard;
mod href;
mod hub;
mod identify;
mod import;
mod markdown;
mod metrics;
mod pages;
mod plan;
mod push;
mod registry;
mod respond;
mod routes;
mod serve;
mod state;
mod states;
mod stream;
mod tls;
mod uses;
mod view;
mod words;

pub use api::repo_files::{CollectError, GRACE_DAYS, collect_repo};
pub use api::update::{NoteError, UpdateEvent, UpdateStage, Which};
pub use config::{Inventory, SshFacts, WebConfig, WebLimits};
pub use facilities::{Check, Facilities, Fact, NoFacilities, ProgramFacts, Slot, SlotState};
pub use git_ssh::SshDoor;
pub use push::{RecordError, Recovered, recover};
pub use registry::{JobDoor, Seat, Serving};
pub use routes::{control_router, router};
pub use serve::{serve, serve_control, serve_tls};
pub use state::{App, AppParts};

#[cfg(test)]
mod tests;
