//! What a job's generation holds, as far as the runner itself uses it: actions, and tools for
//! `setup-*` actions.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use vocab::Digest;
use workflow::{Action, ActionRef};

/// Looks into the one generation that a job sees. The caller holds it for as long as the job runs.
pub trait Supply: fmt::Debug + Send + Sync {
    /// Which generation, and which bundle made it.
    fn facts(&self) -> SupplyFacts;

    /// Every version of the tool `name` for this machine; letter case does not matter.
    fn tools(&self, name: &str) -> Result<Vec<ToolFacts>, String>;

    /// The archive of a tool, as it is packed.
    fn open_tool(&self, tool: &ToolFacts) -> Result<Box<dyn Read + Send>, String>;

    /// The version that the site lets stand in for `version` of the tool `name`, if any.
    fn alias(&self, name: &str, version: &str) -> Option<String>;

    /// Notes that something was asked for and is not there.
    fn want(&self, kind: &str, name: &str);
}

/// The generation that a job saw.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SupplyFacts {
    /// Its number on this appliance.
    pub generation: i64,
    /// Product of the bundle that made it.
    pub product: String,
    /// The bundle's channel.
    pub channel: String,
    /// The bundle's number in its channel.
    pub seq: i64,
    /// Digest of the bundle's manifest.
    pub manifest: Digest,
}

impl fmt::Display for SupplyFacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "generation {} of bundle {} {} {}, manifest {}",
            self.generation, self.product, self.channel, self.seq, self.manifest
        )
    }
}

/// One version of a tool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolFacts {
    /// Its name in the tool cache: `Python`, `node`.
    pub name: String,
    /// `3.12.7`.
    pub version: String,
    /// The archive.
    pub digest: Digest,
    /// How it is packed.
    pub packing: ToolPacking,
    /// Leading path parts that are dropped when it is unpacked.
    pub strip: u32,
}

/// How a tool is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToolPacking {
    /// A tar, gzip.
    TarGz,
    /// A tar, Zstandard.
    TarZst,
}

/// One ref of an action's repository, with the actions in it that a job needs.
#[derive(Clone, Debug)]
pub struct CarriedAction {
    /// `owner/name`, as the generation has it.
    pub name: String,
    /// The tag, branch or commit, as it was asked for.
    pub git_ref: String,
    /// The commit's id in hex.
    pub commit: String,
    /// Where its tree stands on this host. Nobody writes there while the job runs.
    pub tree: PathBuf,
    /// By folder in the repository; empty for its root.
    pub actions: BTreeMap<String, Arc<Action>>,
}

impl CarriedAction {
    /// Where a job finds the tree, read-only.
    #[must_use]
    pub fn place(&self) -> String {
        format!("/opt/actions/{}/{}", self.name, self.commit)
    }

    /// The action that is meant, when it is one of these.
    pub(crate) fn find(&self, action: &ActionRef) -> Option<&Arc<Action>> {
        let (owner, name, folder, git_ref) = action.carried()?;
        let same = self.name.eq_ignore_ascii_case(&format!("{owner}/{name}"));
        (same && self.git_ref == git_ref)
            .then(|| self.actions.get(folder))
            .flatten()
    }
}
