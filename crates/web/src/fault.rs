//! What a request that failed is told: a status, what failed, what to do.
//!
//! A failure of the server itself keeps its cause for the server's log; callers see an incident.

use std::error::Error;
use std::fmt::Display;
use std::sync::Arc;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

/// Why a request is not answered as asked.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    pub(crate) status: StatusCode,
    pub(crate) error: String,
    pub(crate) what_to_do: Option<String>,
    /// A stable code for programs, where there is one.
    pub(crate) code: Option<&'static str>,
    pub(crate) cause: Option<Arc<dyn Error + Send + Sync>>,
    /// Whether HTTP basic is asked for.
    pub(crate) challenge: bool,
    /// Who asked, for the page's bar.
    pub(crate) user: Option<String>,
}

impl Fault {
    pub(crate) fn new(status: StatusCode, error: impl Display) -> Self {
        Self {
            status,
            error: error.to_string(),
            what_to_do: None,
            code: None,
            cause: None,
            challenge: false,
            user: None,
        }
    }

    /// The same, with the next step.
    pub(crate) fn todo(mut self, what_to_do: impl Display) -> Self {
        self.what_to_do = Some(what_to_do.to_string());
        self
    }

    /// The same, with a stable code.
    pub(crate) fn code(mut self, code: &'static str) -> Self {
        self.code = Some(code);
        self
    }

    /// The caller asked for something that cannot be.
    pub(crate) fn bad(error: impl Display) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error)
    }

    /// It is not there, or not for this caller.
    pub(crate) fn missing(what: impl Display) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            format!("{what} is not here, or not for you"),
        )
        .todo("check the address; sign in with an account that may see it")
    }

    /// The state of things forbids it.
    pub(crate) fn conflict(error: impl Display) -> Self {
        Self::new(StatusCode::CONFLICT, error)
    }

    /// Who asks is not known.
    pub(crate) fn unknown_caller() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "this needs an account")
            .todo("sign in, or send an access token")
    }

    /// Who asks may not.
    pub(crate) fn denied(error: impl Display) -> Self {
        Self::new(StatusCode::FORBIDDEN, error)
    }

    /// The audit log takes no entries, so that nothing can be changed.
    fn blocked(blocked: &audit::Blocked) -> Self {
        let error = format!(
            "the audit log takes no entries since {}, so nothing was changed: {}",
            blocked.since(),
            blocked.what
        );
        Self::new(StatusCode::SERVICE_UNAVAILABLE, error)
            .todo(blocked.cause.todo())
            .code("E_AUDIT_BLOCKED")
    }

    /// The server failed. The caller sees no more than an incident, save where the audit log is
    /// what failed.
    pub(crate) fn internal(cause: impl Error + Send + Sync + 'static) -> Self {
        if let Some(blocked) = blocked(&cause) {
            return Self::blocked(blocked);
        }
        Self {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            error: "the server could not do this".to_owned(),
            what_to_do: Some("try again; if it stays, tell an operator the incident".to_owned()),
            code: None,
            cause: Some(Arc::new(cause)),
            challenge: false,
            user: None,
        }
    }

    /// The cause and all causes behind it, for the log.
    pub(crate) fn chain(&self) -> Option<String> {
        let mut at: Option<&dyn Error> = self.cause.as_ref().map(|c| {
            let cause: &dyn Error = &**c;
            cause
        });
        let mut out = String::new();
        while let Some(error) = at {
            if !out.is_empty() {
                out.push_str(": ");
            }
            out.push_str(&error.to_string());
            at = error.source();
        }
        (!out.is_empty()).then_some(out)
    }
}

/// What is in the audit log's way, where that is what an error comes from.
pub(crate) fn blocked<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a audit::Blocked> {
    let mut at = Some(error);
    while let Some(error) = at {
        if let Some(blocked) = error.downcast_ref() {
            return Some(blocked);
        }
        at = error.source();
    }
    None
}

/// The fault travels in the response's extensions; the outermost layer renders it.
impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<store::StoreError> for Fault {
    fn from(error: store::StoreError) -> Self {
        match &error {
            store::StoreError::Full => Self::new(StatusCode::INSUFFICIENT_STORAGE, &error),
            store::StoreError::Stopped | store::StoreError::Undone => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, &error)
            }
            _ => Self::internal(error),
        }
    }
}

impl From<tokio::task::JoinError> for Fault {
    fn from(error: tokio::task::JoinError) -> Self {
        Self::internal(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_kept_for_the_log_and_out_of_the_answer() {
        let fault = Fault::internal(std::io::Error::other("disk /srv/secret-path is gone"));
        assert!(!fault.error.contains("secret-path"));
        assert!(fault.chain().unwrap().contains("secret-path"));
        assert_eq!(
            fault.into_response().status(),
            StatusCode::INTERNAL_SERVER_ERROR
        );
    }
}
