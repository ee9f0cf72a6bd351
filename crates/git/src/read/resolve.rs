//! From what people type to a commit.

use std::io;

use gix::hash::{ObjectId, Prefix};
use gix::objs::Kind;

use crate::objects::ReadError;
use crate::repo::Repository;

/// The fewest digits of an abbreviated id.
const MIN_DIGITS: usize = 7;

/// What a revision came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// The commit.
    pub commit: ObjectId,
    /// The full name of the ref that was meant, unless the commit was named by its id.
    pub ref_name: Option<String>,
}

/// Why a revision could not be resolved.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// Several objects begin so.
    #[error("'{text}' begins the id of more than one object; give more digits")]
    Ambiguous {
        /// What was asked for.
        text: String,
    },
    /// It names something else than a commit.
    #[error("'{text}' names a {kind}, not a commit")]
    NotACommit {
        /// What was asked for.
        text: String,
        /// What it is.
        kind: Kind,
    },
    /// The refs could not be read.
    #[error("the refs could not be read")]
    Refs(#[from] io::Error),
    /// An object could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl Repository {
    /// The commit that `text` names: `HEAD`, a full ref name, a branch, a tag, or an object id of
    /// at least 7 digits, in this order. `None` where it names nothing.
    pub fn resolve(&self, text: &str) -> Result<Option<Resolved>, ResolveError> {
        let refs = self.refs()?;
        let mut found = None;
        if text == "HEAD" {
            let head = self.head()?;
            let name = head.branch().map(str::to_owned);
            found = head.target(&refs).map(|id| (id, name));
        } else {
            for prefix in ["", "refs/heads/", "refs/tags/"] {
                let name = format!("{prefix}{text}");
                if let Some(id) = refs.get(&name) {
                    found = Some((id, Some(name)));
                    break;
                }
            }
        }
        if found.is_none() {
            found = self.by_digits(text)?.map(|id| (id, None));
        }
        let Some((id, ref_name)) = found else {
            return Ok(None);
        };
        match self.objects().peel(id)? {
            (commit, Kind::Commit) => Ok(Some(Resolved { commit, ref_name })),
            (_, kind) => Err(ResolveError::NotACommit {
                text: text.to_owned(),
                kind,
            }),
        }
    }

    fn by_digits(&self, text: &str) -> Result<Option<ObjectId>, ResolveError> {
        let digits = (MIN_DIGITS..=self.hash.len_in_hex()).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_hexdigit());
        if !digits {
            return Ok(None);
        }
        let objects = self.objects();
        if text.len() == self.hash.len_in_hex() {
            let id = ObjectId::from_hex(text.to_ascii_lowercase().as_bytes()).ok();
            return Ok(id.filter(|id| objects.contains(id)));
        }
        let Ok(prefix) = Prefix::from_hex(text) else {
            return Ok(None);
        };
        match objects.main().lookup_prefix(prefix, None) {
            Ok(None) => Ok(None),
            Ok(Some(Ok(id))) => Ok(Some(id)),
            Ok(Some(Err(()))) => Err(ResolveError::Ambiguous {
                text: text.to_owned(),
            }),
            Err(source) => Err(ReadError::Database {
                id: self.hash.null(),
                source,
            }
            .into()),
        }
    }
}
