//! One entry before it is written: what happened, to what, with which details.

use serde_json::{Map, Value};
use vocab::JobId;

use crate::{Kind, Seq};

/// How the action went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Out {
    /// It was done.
    Success,
    /// It was not allowed.
    Denied,
    /// It was allowed and failed.
    Failure,
}

impl Out {
    /// The word in the line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Denied => "denied",
            Self::Failure => "failure",
        }
    }
}

/// An entry to be appended. Built by its maker, one call per field.
#[derive(Clone, Debug)]
#[must_use = "an entry that is not appended tells nobody"]
pub struct Entry {
    pub(crate) kind: Kind,
    pub(crate) out: Out,
    pub(crate) why: Option<String>,
    pub(crate) object: Option<Object>,
    pub(crate) details: Map<String, Value>,
    pub(crate) private: Vec<(String, String)>,
    pub(crate) job: Option<JobId>,
    pub(crate) parent: Option<Seq>,
}

#[derive(Clone, Debug)]
pub(crate) struct Object {
    pub(crate) kind: String,
    pub(crate) id: String,
    pub(crate) name: Option<String>,
}

impl Entry {
    /// Something was done.
    pub fn success(kind: Kind) -> Self {
        Self::new(kind, Out::Success, None)
    }

    /// Something was not allowed. `why` is a stable code such as `E_SCOPE`.
    pub fn denied(kind: Kind, why: &str) -> Self {
        Self::new(kind, Out::Denied, Some(why.to_owned()))
    }

    /// Something was allowed and failed. `why` is a stable code such as `E_TIMEOUT`.
    pub fn failure(kind: Kind, why: &str) -> Self {
        Self::new(kind, Out::Failure, Some(why.to_owned()))
    }

    fn new(kind: Kind, out: Out, why: Option<String>) -> Self {
        Self {
            kind,
            out,
            why,
            object: None,
            details: Map::new(),
            private: Vec::new(),
            job: None,
            parent: None,
        }
    }

    /// What it was done to: `("repo", repo.tagged(), "lab/tasks-app")`. No personal names.
    pub fn object(mut self, kind: &str, id: String, name: impl Into<String>) -> Self {
        self.object = Some(Object {
            kind: kind.to_owned(),
            id,
            name: Some(name.into()),
        });
        self
    }

    /// What it was done to when its name is a person's: the name goes into
    /// [`Entry::private`], or nowhere.
    pub fn unnamed_object(mut self, kind: &str, id: String) -> Self {
        self.object = Some(Object {
            kind: kind.to_owned(),
            id,
            name: None,
        });
        self
    }

    /// A detail in clear. Long texts are cut at 4,096 characters; fractions and integers
    /// beyond ±2^53 are written as text. Never a secret's value, a password or a token.
    pub fn detail(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.details.insert(key.to_owned(), value.into());
        self
    }

    /// A personal detail: the line has only `<key>_c`, a salted commitment; the value stands
    /// beside the log, where it can be redacted.
    pub fn private(mut self, key: &str, value: impl Into<String>) -> Self {
        self.private.push((key.to_owned(), value.into()));
        self
    }

    /// The job it belongs to.
    pub fn job(mut self, job: JobId) -> Self {
        self.job = Some(job);
        self
    }

    /// The earlier entry that this one follows from.
    pub fn parent(mut self, parent: Seq) -> Self {
        self.parent = Some(parent);
        self
    }
}
