//! Whether a program may take the place of the one that runs: decided before anything changes.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Context;
use bundle::Version;
use serde::{Deserialize, Serialize};
use store::{Applied, Schema};

use super::elf::HOST;
use super::layout::Prefix;
use crate::program::{self, Program};

/// How long a program may take to say what it is.
const SOON: Duration = Duration::from_secs(10);

/// Why a program may not take the place of the one that runs. Nothing has changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("E_ARCH: the program is labelled {label} and made for {got}; this machine is {this}")]
    Arch {
        label: String,
        got: String,
        this: String,
    },
    #[error("E_BINARY: the program cannot be used: {reason}; build the bundle again")]
    Binary { reason: String },
    #[error(
        "E_HASH: the program is not the one that the bundle names: {got}, not {expected}; run `cofferdam fsck`, then import the bundle again"
    )]
    Damaged { expected: String, got: String },
    #[error("E_VERSION: the program says that it is {said}, the bundle promises {promised}")]
    Version { said: String, promised: String },
    #[error(
        "E_NEWER: the program needs cofferdam {needs} before it, and this is {this}; bring a bundle with the program {needs} first"
    )]
    Newer { needs: String, this: String },
    #[error(
        "E_NEWER: its {owner} migration {number} leaves nothing that this version can go back to; bring a version between {this} and {to} first"
    )]
    NoWayBack {
        owner: String,
        number: usize,
        this: String,
        to: String,
    },
    #[error(
        "E_OLDER: the database has {owner} migration {number} ('{name}'), made by version {by}, and {version} cannot use it; bring a version from {by} on"
    )]
    Older {
        owner: String,
        number: i64,
        name: String,
        by: String,
        version: String,
    },
    #[error(
        "E_SCHEMA: the bundle says that the program knows {promised} migrations of {owner}, the program says {said}; build the bundle again"
    )]
    Schema {
        owner: String,
        promised: i64,
        said: i64,
    },
    #[error(
        "E_EPOCH: the program is of security epoch {got}, and this appliance has been at {at}: it never goes back"
    )]
    Epoch { got: u64, at: u64 },
    #[error("E_MISSING: {what} is not here; import the bundle again")]
    Missing { what: String },
}

/// What a program says of itself: `cofferdam update describe`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Description {
    pub(crate) version: String,
    pub(crate) arch: String,
    /// How many migrations of each crate it knows.
    pub(crate) schema: Schema,
    /// What each of them asks of older programs.
    pub(crate) needs: BTreeMap<String, Vec<i64>>,
}

/// What this program says of itself.
pub(crate) fn describe() -> Description {
    let program = program::this();
    Description {
        version: program.version.to_owned(),
        arch: HOST.to_owned(),
        schema: program.schema(),
        needs: program.needs(),
    }
}

/// Runs the installed version `hex` to hear what it is.
pub(crate) fn ask(prefix: &Prefix, hex: &str) -> anyhow::Result<Description> {
    let path = prefix.program(hex);
    let said = run(&path, &["--version"])?;
    let version = said.trim().strip_prefix("cofferdam ").unwrap_or_default();
    let text = run(&path, &["update", "describe"])?;
    let description: Description = serde_json::from_str(&text).map_err(|e| Refusal::Binary {
        reason: format!("it does not say what it is: {e}"),
    })?;
    if description.version != version {
        return Err(Refusal::Version {
            said: version.to_owned(),
            promised: description.version,
        }
        .into());
    }
    Ok(description)
}

/// Runs a program that only prints; it has a clean environment and little time.
fn run(path: &Path, words: &[&str]) -> anyhow::Result<String> {
    let refused = |reason: String| Refusal::Binary {
        reason: format!("`{}` {reason}", words.join(" ")),
    };
    let mut child = Command::new(path)
        .args(words)
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|e| refused(format!("cannot be run: {e}")))?;
    let mut output = child.stdout.take().context("the program has no output")?;
    let reading = std::thread::spawn(move || {
        let mut text = String::new();
        let read = (&mut output).take(1 << 20).read_to_string(&mut text);
        read.map(|_| text)
    });
    let process = super::keeper::Process::of(child.id())?;
    if !process.ends_within(SOON) {
        child.kill().context("it cannot be killed")?;
        child.wait().context("it cannot be waited for")?;
        return Err(refused(format!("did not end within {} s", SOON.as_secs())).into());
    }
    let status = child.wait().context("it cannot be waited for")?;
    let text = reading.join().ok().and_then(Result::ok).unwrap_or_default();
    if !status.success() {
        return Err(refused(format!("ended with {status}")).into());
    }
    Ok(text)
}

/// Whether a program of this version and schema can use a database with these migrations.
pub(crate) fn fits_database(
    version: &str,
    schema: &Schema,
    applied: &[Applied],
) -> Result<(), Refusal> {
    for one in applied {
        let known = schema.get(&one.owner).copied().unwrap_or(0);
        if one.number > known && one.needs > known {
            let by = if one.version.is_empty() {
                "an earlier one".to_owned()
            } else {
                one.version.clone()
            };
            return Err(Refusal::Older {
                owner: one.owner.clone(),
                number: one.number,
                name: one.name.clone(),
                by,
                version: version.to_owned(),
            });
        }
    }
    Ok(())
}

/// Whether this program can use the database after `next` has brought it forward.
pub(crate) fn leaves_a_way_back(
    this: &Program,
    next: &Description,
    applied: &[Applied],
) -> Result<(), Refusal> {
    let own = this.schema();
    for (owner, needs) in &next.needs {
        let known = own.get(owner).copied().unwrap_or(0);
        let done = applied.iter().filter(|a| a.owner == *owner).count();
        for (number, needed) in (1..).zip(needs).skip(done) {
            if *needed > known {
                return Err(Refusal::NoWayBack {
                    owner: owner.clone(),
                    number,
                    this: this.version.to_owned(),
                    to: next.version.clone(),
                });
            }
        }
    }
    Ok(())
}

/// Whether this version is one that `min_appliance` takes.
pub(crate) fn new_enough(this: &str, needs: &str) -> Result<(), Refusal> {
    if Version::parse(this) >= Version::parse(needs) {
        return Ok(());
    }
    Err(Refusal::Newer {
        needs: needs.to_owned(),
        this: this.to_owned(),
    })
}

/// Whether a program says what its bundle promised.
pub(crate) fn keeps_its_promise(
    said: &Description,
    version: &str,
    schema: &BTreeMap<String, u32>,
) -> Result<(), Refusal> {
    if said.version != version {
        return Err(Refusal::Version {
            said: said.version.clone(),
            promised: version.to_owned(),
        });
    }
    let promised: Schema = schema
        .iter()
        .map(|(owner, number)| (owner.clone(), i64::from(*number)))
        .collect();
    for owner in said.schema.keys().chain(promised.keys()) {
        let of = |schema: &Schema| schema.get(owner).copied().unwrap_or(0);
        if of(&said.schema) != of(&promised) {
            return Err(Refusal::Schema {
                owner: owner.clone(),
                promised: of(&promised),
                said: of(&said.schema),
            });
        }
    }
    Ok(())
}

/// Whether a program's epoch is not below the floor.
pub(crate) fn not_below(epoch: u64, floor: u64) -> Result<(), Refusal> {
    if epoch >= floor {
        return Ok(());
    }
    Err(Refusal::Epoch {
        got: epoch,
        at: floor,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(owner: &str, number: i64, needs: i64) -> Applied {
        Applied {
            owner: owner.to_owned(),
            number,
            name: format!("000{number}_x"),
            needs,
            version: "9.9.9".to_owned(),
        }
    }

    fn schema(of: &[(&str, i64)]) -> Schema {
        of.iter().map(|(o, n)| ((*o).to_owned(), *n)).collect()
    }

    #[test]
    fn t43_an_older_program_is_refused_by_the_migration_and_the_version_to_bring() {
        let old = schema(&[("queue", 2)]);
        let database = [applied("queue", 1, 1), applied("queue", 2, 2)];
        fits_database("1.0.0", &old, &database).unwrap();
        let added = [
            database.clone(),
            [applied("queue", 3, 0), applied("new", 1, 0)],
        ]
        .concat();
        fits_database("1.0.0", &old, &added).unwrap();
        let taken = [added, vec![applied("queue", 4, 3)]].concat();
        let told = fits_database("1.0.0", &old, &taken)
            .unwrap_err()
            .to_string();
        assert!(
            told.starts_with("E_OLDER") && told.contains("9.9.9"),
            "{told}"
        );
    }

    #[test]
    fn t43_a_program_that_needs_a_newer_one_before_it_names_that_one() {
        new_enough("1.4.0", "1.4.0").unwrap();
        new_enough("1.10.0", "1.9.0").unwrap();
        let told = new_enough("1.3.9", "1.4.0").unwrap_err().to_string();
        assert!(
            told.starts_with("E_NEWER") && told.contains("1.4.0"),
            "{told}"
        );
    }

    #[test]
    fn a_program_that_burns_the_bridge_is_refused_beforehand() {
        let mut next = describe();
        next.version = "0.3.0".to_owned();
        let known = next.schema["queue"];
        next.needs.get_mut("queue").unwrap().push(0);
        leaves_a_way_back(&Program::THIS, &next, &[]).unwrap();
        next.needs.get_mut("queue").unwrap().push(known + 1);
        let told = leaves_a_way_back(&Program::THIS, &next, &[]).unwrap_err();
        assert!(told.to_string().starts_with("E_NEWER"), "{told}");
        let done: Vec<Applied> = (1..=known + 2).map(|n| applied("queue", n, 0)).collect();
        leaves_a_way_back(&Program::THIS, &next, &done).unwrap();
    }

    #[test]
    fn a_program_must_be_what_the_bundle_promised() {
        let said = describe();
        let mut promised: BTreeMap<String, u32> = said
            .schema
            .iter()
            .map(|(o, n)| (o.clone(), u32::try_from(*n).unwrap()))
            .collect();
        keeps_its_promise(&said, &said.version, &promised).unwrap();
        assert!(keeps_its_promise(&said, "7.0.0", &promised).is_err());
        promised.insert("queue".to_owned(), 99);
        let told = keeps_its_promise(&said, &said.version, &promised).unwrap_err();
        assert!(told.to_string().starts_with("E_SCHEMA"), "{told}");
    }

    #[test]
    fn t45_a_program_below_the_security_epoch_is_refused() {
        not_below(3, 3).unwrap();
        let told = not_below(2, 3).unwrap_err().to_string();
        assert!(told.starts_with("E_EPOCH"), "{told}");
    }
}
