//! The JSON API: every answer and refusal is JSON. Source: docs/api.md.

pub(crate) mod attest;
pub(crate) mod audit;
pub(crate) mod bundles;
pub(crate) mod chains;
pub(crate) mod explain;
pub(crate) mod inventory;
pub(crate) mod keys;
pub(crate) mod people;
pub(crate) mod pool;
pub(crate) mod redactions;
pub(crate) mod repo_files;
pub(crate) mod repos;
pub(crate) mod runs;
pub(crate) mod update;
pub(crate) mod witnesses;

use axum::extract::rejection::{FormRejection, JsonRejection};
use axum::http::StatusCode;

use crate::fault::Fault;

/// A body that is not what the route takes.
pub(crate) fn bad_json(rejection: &JsonRejection) -> Fault {
    Fault::new(rejection.status(), rejection.body_text()).todo("see docs/api.md")
}

/// A form that is not what the page sends.
pub(crate) fn bad_form(rejection: &FormRejection) -> Fault {
    Fault::new(rejection.status(), rejection.body_text()).todo("use the page's own form")
}

/// A name in an address or a body that breaks a rule.
pub(crate) fn bad(error: impl std::fmt::Display) -> Fault {
    let text = error.to_string();
    let fault = |e: &str| Fault::new(StatusCode::BAD_REQUEST, e);
    match (text.split_once("; "), text.split_once(": use ")) {
        (Some((error, todo)), _) => fault(error).todo(todo),
        (None, Some((error, how))) => fault(error).todo(format!("use {how}")),
        (None, None) => fault(&text),
    }
}
