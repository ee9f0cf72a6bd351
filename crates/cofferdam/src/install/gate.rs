//! What an installer asks before it touches the host: is this medium the one on the paper, and is
//! this program the one in it?

use std::io::{BufRead, IsTerminal, Write};
use std::path::Path;

use anyhow::{Context, bail};
use bundle::manifest::Manifest;
use bundle::{Appliance, Item, Sealed, Trust, Verified, Version};
use vocab::{Clock, Digest};

/// A bundle that may be installed from.
pub(crate) struct Cleared {
    pub(crate) verified: Verified,
    /// What was typed from the paper.
    pub(crate) fingerprint: Digest,
    /// Whether it holds this very program.
    pub(crate) holds_program: bool,
}

/// Judges the bundle at `from` by the root that `fingerprint` names, for an appliance called
/// `name` with its data in `data`. Changes nothing.
///
/// A delta is refused where what it takes for granted is not in `data`: its import would fail once
/// everything else was installed.
pub(crate) fn clear(
    from: &Path,
    fingerprint: &Digest,
    name: &str,
    own: &Digest,
    data: &Path,
) -> anyhow::Result<Cleared> {
    let sealed = Sealed::open(from)?;
    let verified = sealed.verify(&Trust::Pinned(*fingerprint))?;
    let version = env!("CARGO_PKG_VERSION");
    verified.judge(&Appliance {
        name: name.to_owned(),
        version: Version::parse(version)
            .with_context(|| format!("this program's version {version} is none"))?,
        arch: "amd64".to_owned(),
        day: today()?,
        seq: 0,
        epoch: 0,
        active: None,
        keys: std::collections::BTreeSet::new(),
        pins: std::collections::BTreeMap::new(),
        quorum_override: false,
    })?;
    let programs: Vec<Digest> = verified
        .manifest
        .items
        .iter()
        .filter_map(|item| match item {
            Item::Selfupdate(program) if program.arch == "amd64" => Some(program.d),
            _ => None,
        })
        .collect();
    let manifest = &verified.manifest;
    has_base(manifest, &programs, data)?;
    if let Some(signed) = programs.iter().find(|program| *program != own) {
        let place = match is_assumed(manifest, signed) {
            true => "the last whole bundle, because this delta does not carry it",
            false => "the medium",
        };
        bail!(
            "this program ({}) is not the one that the bundle's signers signed ({}); copy \
             cofferdam-linux-x86_64 from {place}, compare its SHA-256 with the paper, and run \
             that",
            own.hex(),
            signed.hex()
        );
    }
    Ok(Cleared {
        fingerprint: *fingerprint,
        holds_program: !programs.is_empty(),
        verified,
    })
}

fn is_assumed(manifest: &Manifest, digest: &Digest) -> bool {
    let mut assumed = manifest.base.iter().flat_map(|base| &base.assumed);
    assumed.any(|blob| blob.d == *digest)
}

/// Refuses a delta whose base is not here.
fn has_base(manifest: &Manifest, programs: &[Digest], data: &Path) -> anyhow::Result<()> {
    let Some(base) = &manifest.base else {
        return Ok(());
    };
    let is_here = |blob: &bundle::manifest::Assumed| {
        let path = store::blob_path(data, &blob.d);
        std::fs::metadata(path).is_ok_and(|meta| meta.len() == blob.n)
    };
    let lacking: Vec<Digest> = base
        .assumed
        .iter()
        .filter(|blob| !is_here(blob))
        .map(|blob| blob.d)
        .collect();
    if lacking.is_empty() {
        return Ok(());
    }
    let (count, of) = (lacking.len(), base.assumed.len());
    let among = match programs.iter().any(|program| lacking.contains(program)) {
        true => ", the program itself among them",
        false => "",
    };
    bail!(
        "this bundle is a delta: it takes for granted {of} blobs that another appliance has, and \
         {count} of them are not in {}{among}; install from a whole bundle, one that was built \
         without --have",
        data.display()
    );
}

fn today() -> anyhow::Result<String> {
    let now = jiff::Timestamp::try_from(Clock::system().now())
        .context("the clock's time is out of range")?;
    Ok(now.strftime("%Y-%m-%d").to_string())
}

/// The root's fingerprint: from the flag, else typed by a person who reads it from paper. The
/// medium's own is never shown, so that nobody copies it from the screen.
pub(crate) fn fingerprint(given: Option<&str>) -> anyhow::Result<Digest> {
    if let Some(given) = given {
        return parse(given);
    }
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        bail!(
            "the root's fingerprint is on the paper that came with the medium; run this on a \
             terminal to type it, or give it with --root-fingerprint"
        );
    }
    let mut out = std::io::stdout();
    for _ in 0..3 {
        write!(out, "root fingerprint, from the paper: ")?;
        out.flush()?;
        let mut line = String::new();
        if stdin.lock().read_line(&mut line)? == 0 {
            break;
        }
        match parse(&line) {
            Ok(digest) => return Ok(digest),
            Err(error) => writeln!(out, "{error}")?,
        }
    }
    bail!("no fingerprint was typed")
}

/// Spaces, dashes, colons and case are for the eye only.
fn parse(typed: &str) -> anyhow::Result<Digest> {
    let plain: String = typed
        .chars()
        .filter(|c| !c.is_whitespace() && *c != '-' && *c != ':')
        .collect::<String>()
        .to_ascii_lowercase();
    if plain.len() != 64 {
        bail!(
            "a fingerprint has 64 digits (0-9, a-f), this has {}",
            plain.len()
        );
    }
    format!("sha256:{plain}")
        .parse()
        .context("a fingerprint has only the digits 0-9 and a-f")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_read_as_people_write_it() {
        let digest = Digest::of(b"root");
        let spaced: String = digest
            .hex()
            .to_uppercase()
            .as_bytes()
            .chunks(4)
            .map(|four| format!("{} ", String::from_utf8_lossy(four)))
            .collect();
        assert_eq!(parse(&spaced).unwrap(), digest);
        assert!(parse(&spaced[5..]).is_err());
        assert!(parse(&spaced.replacen('A', "G", 1).replacen('0', "O", 1)).is_err());
    }
}
