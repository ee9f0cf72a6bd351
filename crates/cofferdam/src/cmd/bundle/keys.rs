//! Key pairs and signatures on bundles: files in, files out, no appliance.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use bundle::sign::{self, PublicKey, SecretKey};
use bundle::{Manifest, Sealed, trusted_comment};
use serde_json::json;

use crate::cli::{Key, Keys, Password};
use crate::output;

pub(super) fn run(verb: Keys, as_json: bool) -> anyhow::Result<ExitCode> {
    match verb {
        Keys::Keygen {
            name,
            password,
            no_password,
        } => keygen(&name, &password, no_password, as_json),
        Keys::Sign { medium, key } => sign_bundle(&medium, &key, as_json),
    }
}

fn keygen(
    name: &Path,
    password: &Password,
    no_password: bool,
    as_json: bool,
) -> anyhow::Result<ExitCode> {
    let (public_path, secret_path) = (with_ending(name, "pub"), with_ending(name, "key"));
    for path in [&public_path, &secret_path] {
        if path.exists() {
            bail!(
                "{} is there already; a key is never overwritten",
                path.display()
            );
        }
    }
    let password = if no_password {
        None
    } else {
        Some(new_password(password)?)
    };
    let (public, secret) = sign::generate(password.as_deref())?;
    write_new(&secret_path, secret.as_bytes(), 0o600)?;
    write_new(&public_path, public.to_file().as_bytes(), 0o644)?;
    if as_json {
        output::json(&json!({
            "id": public.id(), "public": public_path, "secret": secret_path,
            "key": public.as_base64(),
        }));
    } else {
        output::line(&format!("key {}", public.id()));
        output::line(&format!("{}  give this away", public_path.display()));
        output::line(&format!(
            "{}  keep this, and its password",
            secret_path.display()
        ));
    }
    Ok(ExitCode::SUCCESS)
}

fn sign_bundle(medium: &Path, key: &Key, as_json: bool) -> anyhow::Result<ExitCode> {
    let sealed = Sealed::open(medium)?;
    let manifest = Manifest::parse(&sealed.manifest)?;
    let secret = open(key)?;
    let comment = trusted_comment(&manifest, &sealed.digest());
    let path = add_signature(
        &sealed.dir,
        "MANIFEST.json",
        &sealed.manifest,
        &secret,
        &comment,
    )?;
    if as_json {
        output::json(&json!({ "key": secret.id(), "file": path, "comment": comment }));
    } else {
        output::line(&format!("signed as {}", secret.id()));
        output::line(&comment);
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes `dir/DOCUMENT.KEYID.minisig`; a signature of the same key is replaced.
pub(super) fn add_signature(
    dir: &Path,
    document: &str,
    bytes: &[u8],
    secret: &SecretKey,
    comment: &str,
) -> anyhow::Result<PathBuf> {
    let path = dir.join(format!("{document}.{}.minisig", secret.id()));
    let text = secret.sign(bytes, comment)?;
    let beside = dir.join(format!(".{document}.{}.tmp", secret.id()));
    std::fs::write(&beside, text).with_context(|| format!("cannot write {}", beside.display()))?;
    std::fs::rename(&beside, &path).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

/// Opens a secret key; its password comes from the file, or is asked for when it needs one.
pub(crate) fn open(key: &Key) -> anyhow::Result<SecretKey> {
    let path = if key.key.extension().is_some_and(|e| e == "key") {
        key.key.clone()
    } else {
        with_ending(&key.key, "key")
    };
    let shown = path.display();
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {shown}"))?;
    let password = match &key.password.password_file {
        Some(file) => Some(first_line(file)?),
        None if SecretKey::is_encrypted(&text) => Some(ask(&format!("password of {shown}: "))?),
        None => None,
    };
    SecretKey::open(&text, password.as_deref()).with_context(|| format!("cannot use {shown}"))
}

/// Reads a public key by the path that keygen was given, or by its file; its name is its file's.
pub(super) fn public(path: &Path) -> anyhow::Result<(String, PublicKey)> {
    let path = if path.extension().is_some_and(|e| e == "pub") {
        path.to_owned()
    } else {
        with_ending(path, "pub")
    };
    let shown = path.display();
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {shown}"))?;
    let key = PublicKey::parse(&text).with_context(|| format!("cannot use {shown}"))?;
    let name = path.file_stem().and_then(|n| n.to_str());
    let name = name.with_context(|| format!("{shown} has no name"))?;
    Ok((name.to_ascii_lowercase(), key))
}

pub(in crate::cmd) fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut whole = path.as_os_str().to_owned();
    whole.push(".");
    whole.push(ending);
    PathBuf::from(whole)
}

fn new_password(password: &Password) -> anyhow::Result<String> {
    if let Some(file) = &password.password_file {
        return first_line(file);
    }
    let first = ask("password for the new key: ")?;
    if first.is_empty() {
        bail!("an empty password protects nothing; --no-password says that none is meant");
    }
    if ask("once more: ")? != first {
        bail!("the two passwords differ");
    }
    Ok(first)
}

fn ask(prompt: &str) -> anyhow::Result<String> {
    rpassword::prompt_password(prompt)
        .context("there is no terminal to ask for the password; give --password-file")
}

fn first_line(file: &Path) -> anyhow::Result<String> {
    let shown = file.display();
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {shown}"))?;
    let line = text.lines().next().unwrap_or_default();
    if line.is_empty() {
        bail!("the first line of {shown} is empty, and it must be the password");
    }
    Ok(line.to_owned())
}

/// Writes a file that was not there.
pub(in crate::cmd) fn write_new(path: &Path, bytes: &[u8], mode: u32) -> anyhow::Result<()> {
    let failed = || format!("cannot write {}", path.display());
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).with_context(failed)?;
    }
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .with_context(failed)?;
    file.write_all(bytes)
        .and_then(|()| file.sync_all())
        .with_context(failed)
}
