//! The site's trust root: statements in a folder, each signed by enough of the keys before it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use bundle::root::{NamedKey, Role, Root as Accepted, SealedRoot, Statement};
use bundle::{Sealed, override_comment};
use serde_json::{Value, json};
use vocab::{Clock, unix_ms};

use super::keys;
use crate::cli::{Key, Root, Thresholds};
use crate::output;

pub(super) fn run(verb: Root, as_json: bool) -> anyhow::Result<ExitCode> {
    match verb {
        Root::Init {
            site,
            root,
            release,
            thresholds,
            folder,
            key,
            password,
        } => {
            let statement = first(site, &root, &release, &thresholds)?;
            let folder = folder.folder;
            write(&folder, &statement)?;
            if let Some(key) = key {
                sign_newest(&folder, &Key { key, password })?;
            }
            show(&folder, as_json)
        }
        Root::Sign { folder, key } => {
            sign_newest(&folder.folder, &key)?;
            show(&folder.folder, as_json)
        }
        Root::Rotate {
            folder,
            add_release,
            add_root,
            remove,
            thresholds,
            floor_reset,
        } => {
            let mut next = successor(&folder.folder)?;
            add(&mut next.release, &add_release)?;
            add(&mut next.root, &add_root)?;
            for key in &remove {
                take_out(&mut next, key)?;
            }
            next.floor_reset = resets(&floor_reset)?;
            set(&mut next, &thresholds);
            write(&folder.folder, &next)?;
            show(&folder.folder, as_json)
        }
        Root::Revoke {
            folder,
            key,
            thresholds,
        } => {
            let mut next = successor(&folder.folder)?;
            let gone = take_out(&mut next, &key)?;
            next.revoked.push(gone);
            next.revoked.sort();
            set(&mut next, &thresholds);
            write(&folder.folder, &next)?;
            show(&folder.folder, as_json)
        }
        Root::Show { folder } => show(&folder.folder, as_json),
        Root::Override { medium, key } => override_expiry(&medium, &key, as_json),
    }
}

fn first(
    site: String,
    root: &[PathBuf],
    release: &[PathBuf],
    thresholds: &Thresholds,
) -> anyhow::Result<Statement> {
    let mut statement = Statement {
        cofferdam_root: 1,
        site,
        number: 1,
        created: today()?,
        root: Role {
            threshold: thresholds.root_threshold.unwrap_or(most(root.len())),
            keys: Vec::new(),
        },
        release: Role {
            threshold: thresholds.release_threshold.unwrap_or(most(release.len())),
            keys: Vec::new(),
        },
        revoked: Vec::new(),
        floor_reset: BTreeMap::new(),
    };
    add(&mut statement.root, root)?;
    add(&mut statement.release, release)?;
    Ok(statement)
}

/// The smallest majority.
fn most(keys: usize) -> usize {
    keys / 2 + 1
}

fn add(role: &mut Role, paths: &[PathBuf]) -> anyhow::Result<()> {
    for path in paths {
        let (name, key) = keys::public(path)?;
        if role.find(key.id()).is_some() {
            bail!("key {} is in that role already", key.id());
        }
        role.keys.push(NamedKey {
            id: key.id().clone(),
            name,
            key: key.as_base64().to_owned(),
        });
    }
    role.keys.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(())
}

fn set(statement: &mut Statement, thresholds: &Thresholds) {
    if let Some(threshold) = thresholds.root_threshold {
        statement.root.threshold = threshold;
    }
    if let Some(threshold) = thresholds.release_threshold {
        statement.release.threshold = threshold;
    }
}

/// Takes a key, named by name or id, out of every role it has.
fn take_out(statement: &mut Statement, named: &str) -> anyhow::Result<bundle::sign::KeyId> {
    let fits = |key: &NamedKey| key.name == named || key.id.as_str().eq_ignore_ascii_case(named);
    let roles = [&statement.root, &statement.release];
    let ids: BTreeSet<_> = roles
        .iter()
        .flat_map(|role| role.keys.iter().filter(|k| fits(k)))
        .map(|key| key.id.clone())
        .collect();
    let id = match ids.into_iter().collect::<Vec<_>>().as_slice() {
        [id] => id.clone(),
        [] => bail!(
            "no key of statement {} is called {named}",
            statement.number - 1
        ),
        _ => bail!("several keys are called {named}; name one by its id"),
    };
    for role in [&mut statement.root, &mut statement.release] {
        role.keys.retain(|key| key.id != id);
    }
    Ok(id)
}

fn resets(words: &[String]) -> anyhow::Result<BTreeMap<String, u64>> {
    let one = |word: &String| {
        let (channel, number) = word.split_once('=')?;
        Some((channel.to_owned(), number.parse().ok()?))
    };
    words
        .iter()
        .map(|word| {
            one(word).with_context(|| format!("--floor-reset {word}: write CHANNEL=NUMBER"))
        })
        .collect()
}

/// The newest statement with the next number, to be changed.
fn successor(folder: &Path) -> anyhow::Result<Statement> {
    let statements = read(folder)?;
    let (number, newest) = statements.last_key_value().with_context(|| {
        format!(
            "{} holds no statement; begin with root init",
            folder.display()
        )
    })?;
    let mut next = newest.read()?;
    next.number = number + 1;
    next.created = today()?;
    next.floor_reset = BTreeMap::new();
    Ok(next)
}

fn write(folder: &Path, statement: &Statement) -> anyhow::Result<()> {
    let bytes = statement.to_bytes();
    // What would be refused on every appliance is refused here.
    Accepted::kept(bytes.clone())?;
    let path = folder.join(format!("ROOT.{}.json", statement.number));
    keys::write_new(&path, &bytes, 0o644)
}

fn sign_newest(folder: &Path, key: &Key) -> anyhow::Result<()> {
    let statements = read(folder)?;
    let (number, newest) = statements
        .last_key_value()
        .with_context(|| format!("{} holds no statement", folder.display()))?;
    let statement = newest.read()?;
    let secret = keys::open(key)?;
    let before = number
        .checked_sub(1)
        .and_then(|n| statements.get(&n))
        .map(SealedRoot::read)
        .transpose()?;
    let known = statement.root.find(secret.id()).is_some()
        || before.is_some_and(|b| b.root.find(secret.id()).is_some());
    if !known {
        bail!(
            "key {} is no root key of statement {number} or of the one before",
            secret.id()
        );
    }
    let comment = format!("cofferdam-root/1 site={} number={number}", statement.site);
    let name = format!("ROOT.{number}.json");
    keys::add_signature(folder, &name, &newest.bytes, &secret, &comment).map(drop)
}

fn override_expiry(medium: &Path, key: &Key, as_json: bool) -> anyhow::Result<ExitCode> {
    let sealed = Sealed::open(medium)?;
    let secret = keys::open(key)?;
    let comment = override_comment(&sealed.digest());
    let path = keys::add_signature(&sealed.dir, "OVERRIDE", &sealed.manifest, &secret, &comment)?;
    if as_json {
        output::json(&json!({ "key": secret.id(), "file": path }));
    } else {
        output::line(&format!(
            "{} overrides the expiry of this bundle",
            secret.id()
        ));
        output::line("import it with --quorum-override once enough root keys have signed");
    }
    Ok(ExitCode::SUCCESS)
}

/// Every statement in the folder, with its signatures, by number.
pub(crate) fn read(folder: &Path) -> anyhow::Result<BTreeMap<u64, SealedRoot>> {
    let failed = || format!("cannot read {}", folder.display());
    let mut found: BTreeMap<u64, SealedRoot> = BTreeMap::new();
    let entries = std::fs::read_dir(folder).with_context(failed)?;
    let mut names = entries
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<std::io::Result<Vec<String>>>()
        .with_context(failed)?;
    names.sort();
    for name in names {
        let Some((number, ending)) = name
            .strip_prefix("ROOT.")
            .and_then(|n| n.split_once(".json"))
            .and_then(|(n, ending)| Some((n.parse::<u64>().ok()?, ending)))
        else {
            continue;
        };
        let bytes = std::fs::read(folder.join(&name)).with_context(failed)?;
        let sealed = found.entry(number).or_default();
        if ending.is_empty() {
            sealed.bytes = bytes;
        } else if ending.ends_with(".minisig") {
            let text = String::from_utf8(bytes).with_context(failed)?;
            sealed.signatures.push((name.clone(), text));
        }
    }
    Ok(found)
}

/// Follows the chain as an appliance would: each statement, and whether it holds.
fn follow(statements: &BTreeMap<u64, SealedRoot>) -> Vec<(u64, &SealedRoot, Option<String>)> {
    let mut before: Option<Accepted> = None;
    let mut broken = false;
    statements
        .iter()
        .map(|(number, sealed)| {
            let held = match &before {
                None => sealed.pinned(&sealed.fingerprint()),
                Some(before) => sealed.after(before),
            };
            match held {
                Ok(root) if !broken => {
                    before = Some(root);
                    (*number, sealed, None)
                }
                Ok(_) => (
                    *number,
                    sealed,
                    Some("the one before does not hold".to_owned()),
                ),
                Err(refusal) => {
                    broken = true;
                    (*number, sealed, Some(refusal.to_string()))
                }
            }
        })
        .collect()
}

fn show(folder: &Path, as_json: bool) -> anyhow::Result<ExitCode> {
    let statements = read(folder)?;
    let mut all_hold = true;
    let mut listed: Vec<Value> = Vec::new();
    for (number, sealed, trouble) in follow(&statements) {
        let statement = sealed.read()?;
        all_hold &= trouble.is_none();
        if as_json {
            listed.push(json!({
                "number": number, "statement": statement, "holds": trouble.is_none(),
                "missing": trouble, "fingerprint": sealed.fingerprint().hex(),
                "signatures": sealed.signatures.len(),
            }));
            continue;
        }
        show_one(number, sealed, &statement, trouble.as_deref());
    }
    if as_json {
        output::json(&json!({ "folder": folder, "statements": listed }));
    }
    Ok(if all_hold {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn show_one(number: u64, sealed: &SealedRoot, statement: &Statement, trouble: Option<&str>) {
    let role = |what: &str, role: &Role| {
        let keys: Vec<String> = role
            .keys
            .iter()
            .map(|key| format!("{} ({})", key.name, key.id))
            .collect();
        output::line(&format!(
            "  {what}: {} of {}: {}",
            role.threshold,
            role.keys.len(),
            keys.join(", ")
        ));
    };
    output::line(&format!(
        "statement {number} of site {}, made on {}",
        statement.site, statement.created
    ));
    role("root", &statement.root);
    role("release", &statement.release);
    for id in &statement.revoked {
        output::line(&format!("  revoked: {id}"));
    }
    for (channel, floor) in &statement.floor_reset {
        output::line(&format!("  floor of channel {channel}: {floor}"));
    }
    match trouble {
        None => output::line(&format!("  signed: {} signatures", sealed.signatures.len())),
        Some(trouble) => output::line(&format!("  not in force yet: {trouble}")),
    }
    if number == 1 {
        output::line("  fingerprint, to be typed from paper at install:");
        output::line(&format!("    {}", in_groups(&sealed.fingerprint().hex())));
    }
}

/// Digits in groups of four, as people read them aloud.
pub(crate) fn in_groups(hex: &str) -> String {
    let mut shown = String::new();
    for (at, digit) in hex.chars().enumerate() {
        if at > 0 && at % 4 == 0 {
            shown.push(' ');
        }
        shown.push(digit);
    }
    shown
}

fn today() -> anyhow::Result<String> {
    let now = jiff::Timestamp::from_millisecond(unix_ms(Clock::system().now()))
        .context("the clock is out of every calendar")?;
    Ok(now.strftime("%Y-%m-%d").to_string())
}
