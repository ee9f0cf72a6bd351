//! Every id has its type; all are positive row numbers of the one database.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

macro_rules! id {
    ($(#[doc = $doc:literal] $name:ident, $prefix:literal;)*) => {$(
        #[doc = $doc]
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub i64);

        impl $name {
            /// The row number, as stored.
            #[must_use]
            pub fn get(self) -> i64 {
                self.0
            }

            /// As audit entries name it: a short kind, a colon, the number.
            #[must_use]
            pub fn tagged(self) -> String {
                format!(concat!($prefix, ":{}"), self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl FromStr for $name {
            type Err = std::num::ParseIntError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }
    )*};
}

id! {
    #[doc = "Names one person or service account. Tag: `u:17`."]
    UserId, "u";
    #[doc = "Names one access token. Tag: `t:3`."]
    TokenId, "t";
    #[doc = "Names one SSH key, a person's or a repo's. Tag: `key:7`."]
    SshKeyId, "key";
    #[doc = "Names one browser session. Tag: `s:9`."]
    SessionId, "s";
    #[doc = "Names one owner of repos. Tag: `o:2`."]
    OwnerId, "o";
    #[doc = "Names one repo for ever, whatever it is called. Tag: `r:5`."]
    RepoId, "r";
    #[doc = "Names one push, from intent to completion. Tag: `p:12`."]
    PushId, "p";
    #[doc = "Names one run of one workflow. Tag: `run:218`."]
    RunId, "run";
    #[doc = "Counts the runs of one repo from 1, as pages and tools show them."]
    RunNumber, "n";
    #[doc = "Names one job for ever, over all its attempts. Tag: `job:1204`."]
    JobId, "job";
    #[doc = "Counts the attempts at one job from 1."]
    Attempt, "a";
    #[doc = "Names one secret. Tag: `sec:4`."]
    SecretId, "sec";
    #[doc = "Names one imported image. Tag: `img:1`."]
    ImageId, "img";
}

/// What every effect of a running job carries, so that a holder whose lease was lost cannot act.
///
/// `epoch` rises each time the job is handed out; a write with an older one is refused.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Fence {
    /// The job.
    pub job: JobId,
    /// The attempt, from 1.
    pub attempt: Attempt,
    /// The hand-out, from 1.
    pub epoch: i64,
}
