//! What one fetch asks for, whichever protocol version carried it.

use std::collections::HashSet;

use gix::hash::ObjectId;

use super::{UploadError, UploadLimits, parse_oid};
use crate::pack::Filter;
use crate::repo::Repository;

/// How much history to send.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Deepen {
    /// So many commits from each tip, at most.
    pub(crate) depth: Option<u32>,
    /// `depth` counts from where the client's history ends.
    pub(crate) relative: bool,
    /// Only commits since then (seconds since 1970).
    pub(crate) since: Option<i64>,
    /// No commit reachable from these refs.
    pub(crate) not: Vec<String>,
}

impl Deepen {
    fn is_asked(&self) -> bool {
        self.depth.is_some() || self.since.is_some() || !self.not.is_empty()
    }
}

/// One fetch request.
#[derive(Default, Debug)]
pub(crate) struct Fetch {
    pub(crate) wants: Vec<ObjectId>,
    pub(crate) haves: Vec<ObjectId>,
    pub(crate) done: bool,
    pub(crate) wait_for_done: bool,
    /// The client takes deltas on objects that it has.
    pub(crate) thin_pack: bool,
    pub(crate) include_tag: bool,
    pub(crate) no_progress: bool,
    /// Where the client's own history is cut.
    pub(crate) shallow: HashSet<ObjectId>,
    pub(crate) deepen: Deepen,
    pub(crate) filter: Option<Filter>,
}

impl Fetch {
    pub(crate) fn deepens(&self) -> bool {
        self.deepen.is_asked()
    }

    /// Takes one line that v0 and v2 share; whether it was one.
    pub(crate) fn take_line(
        &mut self,
        repo: &Repository,
        line: &[u8],
        limits: &UploadLimits,
    ) -> Result<bool, UploadError> {
        let (word, rest) = match line.iter().position(|b| *b == b' ') {
            Some(at) => (&line[..at], &line[at + 1..]),
            None => (line, &b""[..]),
        };
        match word {
            b"want" => {
                if self.wants.len() >= limits.max_wants {
                    return Err(UploadError::Refused(format!(
                        "more than {} wants in one fetch",
                        limits.max_wants
                    )));
                }
                self.wants.push(parse_oid(repo, rest)?);
            }
            b"have" => {
                if self.haves.len() >= limits.max_haves {
                    return Err(UploadError::Refused(format!(
                        "more than {} haves in one fetch",
                        limits.max_haves
                    )));
                }
                self.haves.push(parse_oid(repo, rest)?);
            }
            b"shallow" => {
                if self.shallow.len() >= limits.max_haves {
                    return Err(UploadError::Refused("too many shallow lines".to_owned()));
                }
                self.shallow.insert(parse_oid(repo, rest)?);
            }
            b"deepen" => {
                let depth: u32 = number(rest)?;
                if depth == 0 {
                    return Err(UploadError::Refused("a depth must be positive".to_owned()));
                }
                self.deepen.depth = Some(depth);
            }
            b"deepen-relative" => self.deepen.relative = true,
            b"deepen-since" => self.deepen.since = Some(number(rest)?),
            b"deepen-not" => {
                if self.deepen.not.len() >= 1000 {
                    return Err(UploadError::Refused("too many deepen-not lines".to_owned()));
                }
                self.deepen
                    .not
                    .push(String::from_utf8_lossy(rest).into_owned());
            }
            b"filter" => self.filter = Some(parse_filter(rest)?),
            _ => return Ok(false),
        }
        Ok(true)
    }
}

fn number<T: std::str::FromStr>(text: &[u8]) -> Result<T, UploadError> {
    std::str::from_utf8(text)
        .ok()
        .and_then(|t| t.parse().ok())
        .ok_or_else(|| {
            UploadError::Refused(format!("'{}' is not a number here", text.escape_ascii()))
        })
}

fn parse_filter(text: &[u8]) -> Result<Filter, UploadError> {
    let refused = || {
        UploadError::Refused(format!(
            "filter '{}' is not served; blob:none, blob:limit=N and tree:N are",
            text.escape_ascii()
        ))
    };
    let spec = std::str::from_utf8(text).map_err(|_| refused())?;
    if spec == "blob:none" {
        return Ok(Filter::BlobLimit(0));
    }
    if let Some(limit) = spec.strip_prefix("blob:limit=") {
        let (digits, unit) = match limit.chars().last() {
            Some('k' | 'K') => (&limit[..limit.len() - 1], 1u64 << 10),
            Some('m' | 'M') => (&limit[..limit.len() - 1], 1 << 20),
            Some('g' | 'G') => (&limit[..limit.len() - 1], 1 << 30),
            _ => (limit, 1),
        };
        let limit: u64 = digits.parse().map_err(|_| refused())?;
        return Ok(Filter::BlobLimit(limit.saturating_mul(unit)));
    }
    if let Some(depth) = spec.strip_prefix("tree:") {
        return Ok(Filter::TreeDepth(depth.parse().map_err(|_| refused())?));
    }
    Err(refused())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_read_and_others_refused() {
        assert_eq!(parse_filter(b"blob:none").unwrap(), Filter::BlobLimit(0));
        assert_eq!(
            parse_filter(b"blob:limit=2k").unwrap(),
            Filter::BlobLimit(2048)
        );
        assert_eq!(parse_filter(b"tree:0").unwrap(), Filter::TreeDepth(0));
        for bad in [&b"sparse:oid=x"[..], b"blob:limit=", b"tree:-1", b"\xff"] {
            assert!(parse_filter(bad).is_err(), "{bad:?}");
        }
    }
}
