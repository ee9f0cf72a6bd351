//! Words that every other crate shares: ids, names, states, digests, and the only clock and
//! entropy that may be read. No I/O beyond those two.

mod clock;
mod digest;
mod entropy;
mod ids;
mod names;
mod states;

pub use clock::{Clock, Stopwatch, from_unix_ms, unix_ms};
pub use digest::{Digest, DigestError};
pub use entropy::Entropy;
pub use ids::{
    Attempt, Fence, ImageId, JobId, OwnerId, PushId, RepoId, RunId, RunNumber, SecretId, SessionId,
    SshKeyId, TokenId, UserId,
};
pub use names::{NameError, OwnerName, RepoName, RepoPath, UserName};
pub use states::{JobState, Outcome, RunState, Sight, StateError, Visibility};
