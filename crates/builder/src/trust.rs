//! The trust root as it lies in a folder of the site: `ROOT.n.json` and the signatures over it.
//!
//! The whole chain goes along with every bundle. It is checked before anything is written, so
//! that no bundle is carried that every appliance would refuse.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bundle::Refusal;
use bundle::root::{Root, SealedRoot};
use bundle::sign::SecretKey;

/// A chain of root statements.
#[derive(Clone, Debug)]
pub struct Chain {
    newest: Root,
    files: BTreeMap<String, Vec<u8>>,
}

/// Why a trust root cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The folder.
    #[error("the trust root in {} cannot be read", path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// No first statement.
    #[error("{} holds no ROOT.1.json; make one with `cofferdam bundle root init`", .0.display())]
    Empty(PathBuf),
    /// A statement does not hold.
    #[error("the trust root in {} does not hold", path.display())]
    Refused {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: Refusal,
    },
    /// A key that may not sign.
    #[error(
        "key {key} may not sign: root statement {number} names {}; sign with one of these, or \
         rotate the root", may.join(", ")
    )]
    MayNotSign {
        /// Its id.
        key: String,
        /// The statement in force.
        number: u64,
        /// Who may.
        may: Vec<String>,
    },
}

impl Chain {
    /// Reads and checks the chain in `folder`.
    pub fn read(folder: &Path) -> Result<Self, TrustError> {
        let io = |source| TrustError::Io {
            path: folder.to_owned(),
            source,
        };
        let mut files = BTreeMap::new();
        for entry in std::fs::read_dir(folder).map_err(io)? {
            let entry = entry.map_err(io)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with("ROOT.") && (name.ends_with(".json") || name.ends_with(".minisig"))
            {
                files.insert(name, std::fs::read(entry.path()).map_err(io)?);
            }
        }
        let refused = |source| TrustError::Refused {
            path: folder.to_owned(),
            source,
        };
        let first = sealed(&files, 1).ok_or_else(|| TrustError::Empty(folder.to_owned()))?;
        let mut newest = first.pinned(&first.fingerprint()).map_err(refused)?;
        while let Some(next) = sealed(&files, newest.number() + 1) {
            newest = next.after(&newest).map_err(refused)?;
        }
        Ok(Self { newest, files })
    }

    /// The statement in force.
    #[must_use]
    pub fn newest(&self) -> &Root {
        &self.newest
    }

    /// Name and content of each file of it, sorted.
    #[must_use]
    pub fn files(&self) -> &BTreeMap<String, Vec<u8>> {
        &self.files
    }

    /// Whether `key` may sign bundles.
    pub fn admits(&self, key: &SecretKey) -> Result<(), TrustError> {
        let statement = self.newest.statement();
        let known = statement.release.find(key.id()).is_some();
        if known && !statement.revoked.contains(key.id()) {
            return Ok(());
        }
        Err(TrustError::MayNotSign {
            key: key.id().to_string(),
            number: self.newest.number(),
            may: statement
                .release
                .keys
                .iter()
                .map(|k| k.name.clone())
                .collect(),
        })
    }
}

fn sealed(files: &BTreeMap<String, Vec<u8>>, number: u64) -> Option<SealedRoot> {
    let name = format!("ROOT.{number}.json");
    let bytes = files.get(&name)?.clone();
    let signatures = files
        .iter()
        .filter(|(file, _)| file.starts_with(&format!("{name}.")))
        .map(|(file, text)| (file.clone(), String::from_utf8_lossy(text).into_owned()))
        .collect();
    Some(SealedRoot { bytes, signatures })
}
