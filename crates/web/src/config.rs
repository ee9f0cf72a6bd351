//! What whoever starts the server decides about it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// Settings of the web server.
#[derive(Clone, Debug)]
pub struct WebConfig {
    /// What pages and clone addresses begin with, without a slash at the end, such as
    /// `http://forge.lab:8470`.
    pub public_url: String,
    /// How long a browser session lasts.
    pub session_length: Duration,
    /// Which image serves a `runs-on` label. A label that is not here means the default image.
    pub labels: BTreeMap<String, String>,
    /// Folders below which bundles may be read for somebody at the web listener, so that the API
    /// tells nothing about other files. The control socket may name any place.
    pub media: Vec<PathBuf>,
    /// Witnesses of the audit log whose cosignatures are taken.
    pub witnesses: Vec<evidence::note::NoteKey>,
    /// What this program is made of, and its settings: for exports.
    pub inventory: Inventory,
    /// Whether anybody may have what the active generation serves, without an account.
    pub open_supply: bool,
    /// The certificate, as PEM, of the authority that vouches for this server; none when it
    /// serves plain HTTP, or with a certificate of the site's own.
    pub authority: Option<String>,
    /// Where git finds this server over SSH; none where it does not.
    pub ssh: Option<SshFacts>,
    /// Upper bounds on what comes in.
    pub limits: WebLimits,
}

/// What an appliance says of itself in an export.
#[derive(Clone, Debug, Default)]
pub struct Inventory {
    /// The crates that the program was built from.
    pub program: Vec<evidence::sbom::Component>,
    /// The settings in force; without secrets, of which the settings have none.
    pub settings: serde_json::Value,
}

/// Where git finds a server over SSH, and by what it knows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SshFacts {
    /// Name and port, such as `forge.lab:2222`.
    pub address: String,
    /// The host key's, `SHA256:` and 43 letters of base64.
    pub fingerprint: String,
}

/// Upper bounds on what comes in.
#[derive(Clone, Debug)]
pub struct WebLimits {
    /// The largest push, in bytes of its pack.
    pub push_bytes: u64,
    /// The largest single object of a push, inflated.
    pub object_bytes: u64,
    /// The largest image that is imported.
    pub image_bytes: u64,
    /// The largest body of any other request.
    pub body_bytes: usize,
    /// Pushes and clones served at a time; more wait.
    pub git_requests: usize,
}

impl Default for WebConfig {
    fn default() -> Self {
        Self {
            public_url: "http://127.0.0.1:8470".to_owned(),
            session_length: Duration::from_secs(12 * 3600),
            labels: BTreeMap::new(),
            media: ["/media", "/mnt", "/run/media"].map(PathBuf::from).to_vec(),
            witnesses: Vec::new(),
            inventory: Inventory::default(),
            open_supply: false,
            authority: None,
            ssh: None,
            limits: WebLimits::default(),
        }
    }
}

impl Default for WebLimits {
    fn default() -> Self {
        Self {
            push_bytes: 2 << 30,
            object_bytes: 128 << 20,
            image_bytes: 16 << 30,
            body_bytes: 1 << 20,
            git_requests: 64,
        }
    }
}
