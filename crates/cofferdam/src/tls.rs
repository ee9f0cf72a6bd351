//! The appliance's certificate: made by an authority of its own, or brought by the site.
//!
//! Kept in `DATA/keys/tls`: `server.pem` (key and chain, replaced as one file), and, when the
//! authority is our own, `ca.crt` and `ca.key`. Refuses a certificate that does not belong to its
//! key. Invariant: whoever holds the authority's key can renew, and nobody else.

mod dates;
mod serving;

use std::fs;
use std::io::{ErrorKind, Write};
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, bail};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use vocab::Digest;

pub(crate) use serving::{Serving, client_config};

const DAY: Duration = Duration::from_secs(24 * 3600);
/// Clients refuse certificates that live longer than 825 days, whoever signed them.
const SERVER_DAYS: u32 = 800;
const AUTHORITY_DAYS: u32 = 3650;
/// A certificate with less than this left is renewed.
const RENEW_BEFORE: Duration = Duration::from_secs(60 * 24 * 3600);
/// No sound clock is earlier: 2026-01-01. A host whose battery is empty wakes up in 1970, and what
/// it signs then must be good when its clock is set.
const FLOOR: u64 = 1_767_225_600;

/// What is known of the certificate that is served.
#[derive(Debug, serde::Serialize)]
pub(crate) struct Shown {
    /// Whether an authority of our own signed it.
    pub(crate) own_authority: bool,
    /// Names and addresses, when our own authority signed it.
    pub(crate) names: Vec<String>,
    /// Last moment at which it is good, UTC.
    pub(crate) expires: String,
    /// Seconds until then; none when it is over.
    pub(crate) left_s: Option<u64>,
    /// Where the authority's certificate is.
    pub(crate) authority: Option<PathBuf>,
    /// SHA-256 of the authority's certificate.
    pub(crate) authority_sha256: Option<String>,
}

/// `DATA/keys/tls`.
pub(crate) fn folder(data: &Path) -> PathBuf {
    data.join("keys/tls")
}

/// Whether there is a certificate to serve.
pub(crate) fn exists(data: &Path) -> bool {
    folder(data).join("server.pem").exists()
}

/// The authority's certificate as PEM, when it is our own.
pub(crate) fn authority(data: &Path) -> Option<String> {
    fs::read_to_string(folder(data).join("ca.crt")).ok()
}

/// Makes what is missing: an authority, and a certificate for `names`. With `names` that the
/// present certificate lacks, or with little time left, it is made anew. Whether it was.
pub(crate) fn ensure(data: &Path, names: &[String], now: SystemTime) -> anyhow::Result<bool> {
    let folder = folder(data);
    if exists(data) && !folder.join("ca.key").exists() {
        // The site brought its own; that is the site's to renew.
        return Ok(false);
    }
    let mut all = kept_names(&folder);
    let lacking = names.iter().any(|name| !all.contains(name));
    if exists(data) && !lacking && time_left(data, now)? > RENEW_BEFORE {
        return Ok(false);
    }
    all.extend(
        names
            .iter()
            .filter(|n| !all.contains(n))
            .cloned()
            .collect::<Vec<_>>(),
    );
    if all.is_empty() {
        bail!("a certificate needs at least one name; give it with --name");
    }
    issue(data, &all, now)?;
    Ok(true)
}

/// Makes a new certificate with the names of the present one and `names`.
pub(crate) fn renew(data: &Path, names: &[String], now: SystemTime) -> anyhow::Result<()> {
    let folder = folder(data);
    if !folder.join("ca.key").exists() {
        bail!(
            "{} holds no authority of this appliance; bring the site's next certificate with \
             `cofferdam tls init --cert FILE --key FILE`",
            folder.display()
        );
    }
    let mut all = kept_names(&folder);
    all.extend(
        names
            .iter()
            .filter(|n| !all.contains(n))
            .cloned()
            .collect::<Vec<_>>(),
    );
    issue(data, &all, now)
}

/// Refuses a certificate chain and its key that could not be served; gives both as one text.
pub(crate) fn check(chain: &Path, key: &Path) -> anyhow::Result<String> {
    let read = |path: &Path| {
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
    };
    let both = format!("{}\n{}", read(key)?.trim_end(), read(chain)?);
    serving::certified(both.as_bytes()).with_context(|| {
        format!(
            "{} and {} cannot be served; the key must be unencrypted PEM and belong to the \
             first certificate of the chain",
            chain.display(),
            key.display()
        )
    })?;
    Ok(both)
}

/// Takes what [`check`] gave.
pub(crate) fn bring(data: &Path, both: &str) -> anyhow::Result<()> {
    serving::certified(both.as_bytes()).context("the certificate cannot be served")?;
    make_folder(data)?;
    let folder = folder(data);
    write_secret(&folder.join("server.pem"), both)?;
    for file in ["ca.key", "ca.crt", "names"] {
        match fs::remove_file(folder.join(file)) {
            Err(e) if e.kind() != ErrorKind::NotFound => {
                return Err(e).with_context(|| format!("cannot remove {file} of the former CA"));
            }
            _ => {}
        }
    }
    Ok(())
}

/// What is served, for people.
pub(crate) fn show(data: &Path, now: SystemTime) -> anyhow::Result<Shown> {
    let folder = folder(data);
    let path = folder.join("server.pem");
    let end = not_after(&path)?;
    let authority = folder.join("ca.crt");
    let own_authority = authority.exists();
    let authority_sha256 = match CertificateDer::from_pem_file(&authority) {
        Ok(der) => Some(Digest::of(&der).hex()),
        Err(_) => None,
    };
    Ok(Shown {
        own_authority,
        names: kept_names(&folder),
        expires: jiff::Timestamp::try_from(end)
            .map(|t| t.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
            .unwrap_or_default(),
        left_s: end.duration_since(now).ok().map(|left| left.as_secs()),
        authority: own_authority.then_some(authority),
        authority_sha256,
    })
}

/// Time until the certificate ends; nothing when it has.
fn time_left(data: &Path, now: SystemTime) -> anyhow::Result<Duration> {
    let end = not_after(&folder(data).join("server.pem"))?;
    Ok(end.duration_since(now.max(floor())).unwrap_or_default())
}

fn not_after(pem: &Path) -> anyhow::Result<SystemTime> {
    let der = CertificateDer::from_pem_file(pem)
        .with_context(|| format!("cannot read a certificate in {}", pem.display()))?;
    dates::not_after(&der)
        .with_context(|| format!("the certificate in {} tells no end", pem.display()))
}

/// Every name and address under which this host may be asked for.
pub(crate) fn host_names() -> Vec<String> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let mut names = vec!["localhost".to_owned()];
    let own = read("/proc/sys/kernel/hostname").trim().to_owned();
    if is_name(&own) && own != "localhost" {
        for line in read("/etc/hosts").lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            if words.contains(&own.as_str()) {
                names.extend(words.iter().skip(1).map(|w| (*w).to_owned()));
            }
        }
        names.push(own);
    }
    names.extend(addresses(
        &read("/proc/net/fib_trie"),
        &read("/proc/net/if_inet6"),
    ));
    names.retain(|name| name.parse::<IpAddr>().is_ok() || is_name(name));
    names.sort();
    names.dedup();
    names
}

/// Whether a word can be a host's name in a certificate.
pub(crate) fn is_name(word: &str) -> bool {
    let label = |l: &str| {
        !l.is_empty()
            && l.len() <= 63
            && !l.starts_with('-')
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    word.len() <= 253 && word.split('.').all(label)
}

/// The host's own addresses as the kernel lists them; those of a link alone are left out.
fn addresses(fib_trie: &str, if_inet6: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut last = "";
    for line in fib_trie.lines().map(str::trim) {
        if let Some(address) = line.strip_prefix("|-- ") {
            last = address;
        } else if line.starts_with("/32 host LOCAL") && !found.iter().any(|a| a == last) {
            found.push(last.to_owned());
        }
    }
    for line in if_inet6.lines() {
        let hex = line.split_whitespace().next().unwrap_or_default();
        if let Ok(bits) = u128::from_str_radix(hex, 16) {
            let address = std::net::Ipv6Addr::from_bits(bits);
            if !address.is_unicast_link_local() {
                found.push(address.to_string());
            }
        }
    }
    found
}

/// Names of the certificate that our authority made last.
fn kept_names(folder: &Path) -> Vec<String> {
    let text = fs::read_to_string(folder.join("names")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

fn issue(data: &Path, names: &[String], now: SystemTime) -> anyhow::Result<()> {
    make_folder(data)?;
    let folder = folder(data);
    let now = now.max(floor());
    let issuer = authority_issuer(&folder, now)?;
    let key = KeyPair::generate().context("cannot make a key")?;
    let mut params = CertificateParams::new(names.to_vec())
        .with_context(|| format!("no certificate can have the names {}", names.join(", ")))?;
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, names[0].clone());
    params.distinguished_name = name;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    set_life(&mut params, now, SERVER_DAYS)?;
    let signed = params
        .signed_by(&key, &issuer)
        .context("cannot sign the certificate")?;
    let both = format!("{}{}", key.serialize_pem(), signed.pem());
    write(&folder.join("names"), &(names.join("\n") + "\n"), 0o644)?;
    write_secret(&folder.join("server.pem"), &both)
}

/// The authority, made when there is none yet.
fn authority_issuer(folder: &Path, now: SystemTime) -> anyhow::Result<Issuer<'static, KeyPair>> {
    let (key_path, path) = (folder.join("ca.key"), folder.join("ca.crt"));
    let key = match fs::read_to_string(&key_path) {
        Ok(pem) => KeyPair::from_pem(&pem)
            .with_context(|| format!("{} holds no key", key_path.display()))?,
        Err(e) if e.kind() == ErrorKind::NotFound => {
            let key = KeyPair::generate().context("cannot make a key")?;
            write_secret(&key_path, &key.serialize_pem())?;
            key
        }
        Err(e) => return Err(e).with_context(|| format!("cannot read {}", key_path.display())),
    };
    let mut params = CertificateParams::default();
    let mut name = DistinguishedName::new();
    // Told from the key, so that two appliances' authorities are never taken for one another, and
    // a renewal needs nothing but the key.
    let id = Digest::of(key.public_key_raw()).hex()[..16].to_owned();
    name.push(DnType::OrganizationName, "Cofferdam");
    name.push(DnType::CommonName, format!("Cofferdam CA {id}"));
    params.distinguished_name = name;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    set_life(&mut params, now, AUTHORITY_DAYS)?;
    if !path.exists() {
        let signed = params
            .self_signed(&key)
            .context("cannot sign the authority's certificate")?;
        write(&path, &signed.pem(), 0o644)?;
    }
    Ok(Issuer::new(params, key))
}

/// The earliest moment that a sound clock can say.
pub(crate) fn floor() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(FLOOR)
}

/// Good from the floor on, so that a client whose clock is a little slow takes it, for `days` from
/// now.
fn set_life(params: &mut CertificateParams, now: SystemTime, days: u32) -> anyhow::Result<()> {
    let date = |at: SystemTime| -> anyhow::Result<(i32, u8, u8)> {
        let stamp = jiff::Timestamp::try_from(at).context("the clock's time is out of range")?;
        let date = stamp.to_zoned(jiff::tz::TimeZone::UTC).date();
        let part = |n: i8| u8::try_from(n).expect("months and days are above 0");
        Ok((i32::from(date.year()), part(date.month()), part(date.day())))
    };
    let (year, month, day) = date(floor())?;
    params.not_before = rcgen::date_time_ymd(year, month, day);
    let (year, month, day) = date(now + DAY * days)?;
    params.not_after = rcgen::date_time_ymd(year, month, day);
    Ok(())
}

fn make_folder(data: &Path) -> anyhow::Result<()> {
    let folder = folder(data);
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&folder)
        .with_context(|| format!("cannot make {}", folder.display()))
}

fn write_secret(path: &Path, text: &str) -> anyhow::Result<()> {
    write(path, text, 0o600)
}

/// Writes beside, syncs, renames: the file is the old one or the new one, never half.
fn write(path: &Path, text: &str, mode: u32) -> anyhow::Result<()> {
    let fresh = path.with_extension("new");
    let put = || -> std::io::Result<()> {
        match fs::remove_file(&fresh) {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&fresh)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&fresh, path)
    };
    put().with_context(|| format!("cannot write {}", path.display()))?;
    let folder = path.parent().unwrap_or(Path::new("."));
    store::sync_dir(folder).with_context(|| format!("cannot sync {}", folder.display()))
}

/// Key and chain of a PEM text.
fn parts(pem: &[u8]) -> anyhow::Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
    let chain = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .context("a certificate is not PEM")?;
    if chain.is_empty() {
        bail!("there is no certificate");
    }
    let key = PrivateKeyDer::from_pem_slice(pem).context("there is no private key")?;
    Ok((chain, key))
}

#[cfg(test)]
mod tests;
