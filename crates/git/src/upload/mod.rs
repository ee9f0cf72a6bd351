//! `git upload-pack`: what clones and fetches ask, and what they get.

mod fetch;
mod lsrefs;
mod negotiate;
mod send;
mod shallow;
mod v0;
mod v2;

use std::io::{self, BufReader, Read, Write};

use gix::hash::ObjectId;

use crate::advertise::Protocol;
use crate::objects::ReadError;
use crate::pack::PackError;
use crate::pktline;
use crate::repo::Repository;

pub(crate) use fetch::Fetch;
pub(crate) use lsrefs::{hidden, peeled};
pub(crate) use send::Roots;
pub(crate) use shallow::by_depth;

/// What one fetch may take.
#[derive(Clone, Debug)]
pub struct UploadLimits {
    /// Threads that count and pack, at most.
    pub threads: usize,
    /// The most `want` lines in one request.
    pub max_wants: usize,
    /// The most `have` lines in one round of negotiation.
    pub max_haves: usize,
    /// Refs whose full names start with one of these do not exist for the client.
    pub hidden_prefixes: Vec<String>,
}

impl Default for UploadLimits {
    fn default() -> Self {
        Self {
            threads: 2,
            max_wants: 200_000,
            max_haves: 200_000,
            hidden_prefixes: Vec::new(),
        }
    }
}

/// Why a fetch failed. The client has been told, where the protocol has a place for it.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// The connection failed, or the request broke the protocol (`InvalidData`).
    #[error("the fetch broke off")]
    Io(#[from] io::Error),
    /// The client asked for what it cannot have.
    #[error("the fetch was refused: {0}")]
    Refused(String),
    /// The repository could not be read.
    #[error("the repository could not be read")]
    Read(#[from] ReadError),
    /// The pack could not be made or sent.
    #[error("the pack could not be sent")]
    Pack(#[from] PackError),
}

/// Answers one client of `git-upload-pack`: over HTTP one request, elsewhere the whole
/// conversation after the advertisement. Returns when the client has got its pack or ends the
/// stream.
pub fn upload_pack(
    repo: &Repository,
    protocol: Protocol,
    input: &mut dyn Read,
    out: &mut dyn Write,
    limits: &UploadLimits,
) -> Result<(), UploadError> {
    let mut input = pktline::PktReader::new(BufReader::with_capacity(32 << 10, input));
    let served = match protocol {
        Protocol::V2 => v2::serve(repo, &mut input, out, limits),
        Protocol::V0 | Protocol::V1 => v0::serve(repo, &mut input, out, limits),
    };
    let told = match &served {
        Ok(()) => Ok(()),
        Err(UploadError::Refused(why)) => pktline::error(out, why),
        Err(UploadError::Io(e)) if e.kind() == io::ErrorKind::InvalidData => {
            pktline::error(out, &format!("protocol error: {e}"))
        }
        Err(UploadError::Io(_) | UploadError::Pack(PackError::Io(_))) => Ok(()),
        Err(UploadError::Read(_) | UploadError::Pack(_)) => pktline::error(
            out,
            "the server cannot read this repository; tell its operator",
        ),
    };
    // The first failure is the one to report; a client that has gone cannot be told.
    match (served, told) {
        (Ok(()), Err(e)) => Err(e.into()),
        (served, _) => {
            out.flush()?;
            served
        }
    }
}

/// Parses an object id of the repository's format.
pub(crate) fn parse_oid(repo: &Repository, text: &[u8]) -> Result<ObjectId, UploadError> {
    crate::refs::parse_id(text, repo.hash).ok_or_else(|| {
        UploadError::Refused(format!("'{}' is not an object id", text.escape_ascii()))
    })
}
