//! A repository made whole from one carried pack and the refs that go with it, to be read only.
//!
//! The pack passes the same checks as a push: limits, checksums, the rules of fsck, connectivity
//! of every ref. Invariant: the directory appears under its name only when all of that is durable.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use gix::hash::ObjectId;

use crate::durable::Durability;
use crate::receive::{CommandKind, ReceiveLimits, RefCommand, Refusal, check_whole, ingest};
use crate::refname;
use crate::refs_update::{RefOutcome, RefUpdate, update_refs};
use crate::repo::{OpenError, Repository};

/// What goes with a carried pack.
#[derive(Clone, Copy, Debug)]
pub struct CarriedRefs<'a> {
    /// Full ref names to object ids in hex.
    pub refs: &'a BTreeMap<String, String>,
    /// Commits whose parents were left out, in hex.
    pub shallow: &'a [String],
}

/// Why no repository was made. Nothing of it stays under its name.
#[derive(Debug, thiserror::Error)]
pub enum CarriedError {
    /// A ref is not one.
    #[error("ref '{name}' cannot be served: {problem}")]
    Ref {
        /// Its name.
        name: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The pack was refused.
    #[error("its pack was refused")]
    Pack(#[from] Refusal),
    /// The repository could not be made.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The disk failed.
    #[error("cannot write {}", path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// Makes the bare repository `dir`, which must not exist, from `pack`. One caller at a time.
pub fn make_carried(
    dir: &Path,
    pack: &mut dyn Read,
    carried: CarriedRefs<'_>,
    limits: &ReceiveLimits,
    durability: Durability,
) -> Result<(), CarriedError> {
    let name = dir.file_name().unwrap_or_default().to_string_lossy();
    let tmp = dir.with_file_name(format!("tmp-{name}"));
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| CarriedError::Io { path, source }
    };
    // What an earlier process left half-made is nobody's.
    discard(&tmp).map_err(failed(&tmp))?;
    let made = fill(&tmp, pack, carried, limits, durability);
    if made.is_err()
        && let Err(error) = discard(&tmp)
    {
        tracing::warn!(path = %tmp.display(), %error, "stays until the next start");
    }
    made?;
    fs::rename(&tmp, dir).map_err(failed(dir))?;
    let parent = dir.parent().unwrap_or(dir);
    durability.dir(parent).map_err(failed(parent))
}

fn discard(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

fn fill(
    dir: &Path,
    pack: &mut dyn Read,
    carried: CarriedRefs<'_>,
    limits: &ReceiveLimits,
    durability: Durability,
) -> Result<(), CarriedError> {
    let commands = commands(carried.refs)?;
    let failed = |source| CarriedError::Io {
        path: dir.to_owned(),
        source,
    };
    drop(Repository::init_bare(
        dir,
        &branch(carried.refs),
        durability,
    )?);
    if !carried.shallow.is_empty() {
        let mut text = carried.shallow.join("\n");
        text.push('\n');
        durability
            .write(&dir.join("shallow"), text.as_bytes())
            .and_then(|()| durability.dir(dir))
            .map_err(failed)?;
    }
    let repo = Repository::open(dir, durability)?;
    let main = repo.objects();
    let mut input = BufReader::with_capacity(64 << 10, pack);
    let mut quarantine = ingest(&repo, main.main(), &mut input, limits, &mut |_| {})?;
    let objects = crate::objects::Objects::new(&repo, quarantine.bundle());
    check_whole(&repo, &objects, quarantine.bundle(), &commands)?;
    drop(objects);
    quarantine.migrate(&repo).map_err(failed)?;
    let updates: Vec<RefUpdate> = commands
        .into_iter()
        .map(|command| RefUpdate {
            name: command.name,
            old: None,
            new: command.new,
        })
        .collect();
    let outcomes = update_refs(&repo, &updates, true);
    for (update, outcome) in updates.iter().zip(outcomes) {
        if let RefOutcome::Refused(problem) | RefOutcome::Failed(problem) = outcome {
            let name = update.name.clone();
            return Err(CarriedError::Ref { name, problem });
        }
    }
    Ok(())
}

fn commands(refs: &BTreeMap<String, String>) -> Result<Vec<RefCommand>, CarriedError> {
    refs.iter()
        .map(|(name, id)| {
            let wrong = |problem: &str| CarriedError::Ref {
                name: name.chars().take(200).collect(),
                problem: problem.to_owned(),
            };
            if let Some(problem) = refname::problem(name) {
                return Err(wrong(problem));
            }
            let id = ObjectId::from_hex(id.as_bytes()).map_err(|_| wrong("its value is no id"))?;
            Ok(RefCommand {
                name: name.clone(),
                old: None,
                new: Some(id),
                kind: CommandKind::Create,
                forced: false,
                refused: None,
            })
        })
        .collect()
}

/// The branch that a clone gets: `main` or `master` where there is one, else the first.
fn branch(refs: &BTreeMap<String, String>) -> String {
    let branches: Vec<&str> = refs
        .keys()
        .filter_map(|name| name.strip_prefix("refs/heads/"))
        .collect();
    ["main", "master"]
        .into_iter()
        .find(|usual| branches.contains(usual))
        .or(branches.first().copied())
        .unwrap_or("main")
        .to_owned()
}
