//! The first thing a client hears: protocol, capabilities and, before v2, the refs.

use std::io::{self, Write};

use crate::pktline;
use crate::refs::Head;
use crate::repo::Repository;
use crate::upload::{UploadLimits, hidden};

/// How the program that answers is named to clients.
pub(crate) const AGENT: &str = concat!("cofferdam/", env!("CARGO_PKG_VERSION"));

/// The two things a client can ask of a repository.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Service {
    /// Clones and fetches.
    UploadPack,
    /// Pushes.
    ReceivePack,
}

impl Service {
    /// `git-upload-pack` or `git-receive-pack`, as in URLs and over SSH.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::UploadPack => "git-upload-pack",
            Self::ReceivePack => "git-receive-pack",
        }
    }

    /// The service of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "git-upload-pack" => Some(Self::UploadPack),
            "git-receive-pack" => Some(Self::ReceivePack),
            _ => None,
        }
    }
}

/// The version of the wire protocol that a client asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Protocol {
    /// The original; what a client gets that asks for nothing.
    #[default]
    V0,
    /// The original with a version line in front.
    V1,
    /// Commands; for fetches only.
    V2,
}

impl Protocol {
    /// Reads the `Git-Protocol` header, or the `GIT_PROTOCOL` variable of SSH: colon-separated
    /// `key=value` pairs, of which the highest known version counts.
    #[must_use]
    pub fn from_header(value: Option<&str>) -> Self {
        let mut best = Self::V0;
        for pair in value.unwrap_or("").split(':') {
            match pair.trim() {
                "version=2" => best = Self::V2,
                "version=1" if best == Self::V0 => best = Self::V1,
                _ => {}
            }
        }
        best
    }
}

/// Whether the advertisement travels in an HTTP answer, which begins with the service's name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transport {
    /// `GET /info/refs?service=…`.
    Http,
    /// SSH or stdio: one stream for all.
    Stream,
}

/// Writes the advertisement of `service`.
///
/// Media type over HTTP: `application/x-git-upload-pack-advertisement` or
/// `application/x-git-receive-pack-advertisement`.
pub fn advertise(
    repo: &Repository,
    service: Service,
    protocol: Protocol,
    transport: Transport,
    limits: &UploadLimits,
    out: &mut dyn Write,
) -> io::Result<()> {
    let mut text = Vec::new();
    if service == Service::UploadPack && protocol == Protocol::V2 {
        version_2(repo, &mut text)?;
        out.write_all(&text)?;
        return out.flush();
    }
    if transport == Transport::Http {
        pktline::line(&mut text, &format!("# service={}", service.name()))?;
        pktline::flush(&mut text)?;
    }
    if protocol == Protocol::V1 {
        pktline::line(&mut text, "version 1")?;
    }
    refs(repo, service, transport, limits, &mut text)?;
    out.write_all(&text)?;
    out.flush()
}

fn version_2(repo: &Repository, out: &mut dyn Write) -> io::Result<()> {
    pktline::line(out, "version 2")?;
    pktline::line(out, &format!("agent={AGENT}"))?;
    pktline::line(out, "ls-refs=unborn")?;
    pktline::line(out, "fetch=shallow wait-for-done filter")?;
    pktline::line(out, &format!("object-format={}", repo.hash))?;
    pktline::flush(out)
}

fn refs(
    repo: &Repository,
    service: Service,
    transport: Transport,
    limits: &UploadLimits,
    out: &mut dyn Write,
) -> io::Result<()> {
    let refs = repo.refs()?;
    let head = repo.head()?;
    let mut caps = match service {
        Service::UploadPack => {
            "multi_ack thin-pack side-band-64k ofs-delta shallow deepen-since deepen-not \
             deepen-relative no-progress include-tag multi_ack_detailed filter"
                .to_owned()
        }
        Service::ReceivePack => {
            "report-status report-status-v2 delete-refs side-band-64k quiet atomic ofs-delta"
                .to_owned()
        }
    };
    if service == Service::UploadPack && transport == Transport::Http {
        caps.push_str(" no-done");
    }
    let head_target = head.target(&refs);
    if let (Service::UploadPack, Head::Branch(name), Some(_)) = (service, &head, head_target) {
        caps.push_str(&format!(" symref=HEAD:{name}"));
    }
    caps.push_str(&format!(" object-format={} agent={AGENT}", repo.hash));
    let mut lines = Vec::new();
    if let (Service::UploadPack, Some(id)) = (service, head_target) {
        lines.push(format!("{id} HEAD"));
    }
    let objects = repo.objects();
    for r in refs.all() {
        if hidden(&r.name, &limits.hidden_prefixes) {
            continue;
        }
        lines.push(format!("{} {}", r.target, r.name));
        if service == Service::UploadPack
            && let Some(peeled) = crate::upload::peeled(&objects, &r.name, r.target)
        {
            lines.push(format!("{peeled} {}^{{}}", r.name));
        }
    }
    if lines.is_empty() {
        lines.push(format!("{} capabilities^{{}}", repo.hash.null()));
    }
    lines[0].push('\0');
    lines[0].push_str(&caps);
    for line in &lines {
        pktline::line(out, line)?;
    }
    let mut ends: Vec<_> = objects.ends().iter().collect();
    ends.sort();
    for end in ends {
        pktline::line(out, &format!("shallow {end}"))?;
    }
    pktline::flush(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_version_asked_for_counts() {
        assert_eq!(Protocol::from_header(None), Protocol::V0);
        assert_eq!(Protocol::from_header(Some("version=1")), Protocol::V1);
        assert_eq!(
            Protocol::from_header(Some("x=y:version=2:version=1")),
            Protocol::V2
        );
        assert_eq!(Protocol::from_header(Some("version=9")), Protocol::V0);
    }
}
