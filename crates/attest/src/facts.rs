//! All that is known of one attempt, read in one snapshot.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use bundle::Item;
use evidence::attestation::Resource;
use git::ObjectId;
use queue::logs::Logs;
use queue::{AttemptRow, JobRow, RunRow, StepRow};
use runner::receipt::Receipt;
use serde_json::Value;
use store::{Db, Store};
use supply::{GenerationId, bundles, generation};
use vocab::{Attempt, Digest, JobId};

use crate::{AttestError, Custody, io};

/// Kinds of items whose files a job fetches by itself.
const FETCHED: [&str; 4] = ["toolcache", "pypi", "file", "oci"];

/// A job's log as it stands on disk.
pub(crate) struct LogFile {
    /// SHA-256 of the file, in hex.
    pub(crate) sha256: String,
    /// Whether its last record says that it has ended.
    pub(crate) finished: bool,
}

impl LogFile {
    /// Looks at the log of an attempt; `None` when it has none.
    pub(crate) fn look(
        logs: &Logs,
        job: JobId,
        attempt: Attempt,
    ) -> Result<Option<Self>, AttestError> {
        let path = logs.path(job, attempt);
        let mut file = match File::open(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(|e| io(&path, e))?,
        };
        // First whether it has ended: what has ended does not grow while it is read.
        let tail = logs.tail(job, attempt, 0);
        let finished = tail
            .map_err(|e| io(&path, std::io::Error::other(e)))?
            .finished;
        Ok(Some(Self {
            sha256: evidence::proof::sum(&mut file).map_err(|e| io(&path, e))?,
            finished,
        }))
    }
}

/// All that is known of one attempt.
pub(crate) struct Facts {
    pub(crate) run: RunRow,
    pub(crate) job: JobRow,
    pub(crate) attempt: AttemptRow,
    pub(crate) steps: Vec<StepRow>,
    pub(crate) inputs: Value,
    /// `owner/name`.
    pub(crate) repo: String,
    /// As this version reads it; the stored one stands in `attempt`.
    pub(crate) receipt: Option<Receipt>,
    /// How the bundle came in whose generation the job saw.
    pub(crate) custody: Option<Custody>,
    /// The image, tools and files that it was given, by digest in hex.
    pub(crate) given: Vec<Resource>,
    /// Whether more was given than was written down.
    pub(crate) more: bool,
    /// Trees of the actions' commits, by commit in hex.
    pub(crate) trees: BTreeMap<String, String>,
    /// The fingerprint of the root that bundles are trusted by.
    pub(crate) trust_root: Option<String>,
    pub(crate) log: Option<LogFile>,
}

impl Facts {
    /// Reads an attempt; `None` when its rows are gone.
    pub(crate) fn load(
        db: &Db,
        data: &Path,
        job: JobId,
        attempt: Attempt,
    ) -> Result<Option<Self>, AttestError> {
        let (Some(job), Some(attempt)) = (queue::job(db, job)?, queue::attempt(db, job, attempt)?)
        else {
            return Ok(None);
        };
        let Some(run) = queue::run(db, job.run)? else {
            return Ok(None);
        };
        let repo = forge::by_id(db, run.repo).map_err(store::StoreError::from)?;
        let receipt: Option<Receipt> = attempt
            .receipt
            .as_ref()
            .and_then(|value| serde_json::from_value(value.clone()).ok());
        let seen = receipt.as_ref().and_then(|receipt| receipt.supply.as_ref());
        let seen = seen.map(|supply| GenerationId(supply.generation));
        let custody = match seen {
            Some(seen) => Custody::of_generation(db, seen)?,
            None => None,
        };
        let noted = supply::given(db, job.id, attempt.attempt)?;
        let own = receipt.as_ref().and_then(|receipt| receipt.root.digest);
        let files: Vec<Digest> = noted
            .digests
            .into_iter()
            .filter(|digest| Some(*digest) != own)
            .collect();
        Ok(Some(Self {
            steps: queue::steps_of(db, job.id, attempt.attempt)?,
            inputs: queue::inputs_of(db, run.id)?,
            repo: repo.map_or_else(|| run.repo.tagged(), |repo| repo.path.to_string()),
            given: named(db, seen, files, custody.as_ref())?,
            more: noted.more,
            trees: BTreeMap::new(),
            trust_root: bundles::fingerprint(data)?.map(|digest| digest.hex()),
            log: None,
            run,
            job,
            attempt,
            receipt,
            custody,
        }))
    }

    /// Looks up which tree each action's commit has; one that cannot be read goes without.
    pub(crate) fn resolve_trees(&mut self, store: &Store, actions: &supply::Actions) {
        let Some(receipt) = &self.receipt else { return };
        let Some(supply) = &receipt.supply else {
            return;
        };
        for action in &receipt.actions {
            let found = store.read(|db| {
                let generation = GenerationId(supply.generation);
                generation::items_named(db, generation, "action", &action.name)
            });
            let Ok(items) = found else { continue };
            let tree = items.iter().find_map(|item| {
                let Item::Action(item) = item else {
                    return None;
                };
                let repository = actions.repository(item).ok()?;
                let commit = ObjectId::from_hex(action.commit.as_bytes()).ok()?;
                repository.objects().root_tree(commit).ok()
            });
            if let Some(tree) = tree {
                self.trees.insert(action.commit.clone(), tree.to_string());
            }
        }
    }
}

/// Files by the names that the generation has for them, each with how it came in.
fn named(
    db: &Db,
    seen: Option<GenerationId>,
    files: Vec<Digest>,
    custody: Option<&Custody>,
) -> Result<Vec<Resource>, AttestError> {
    let mut names = BTreeMap::new();
    if let (Some(seen), false) = (seen, files.is_empty()) {
        for kind in FETCHED {
            for item in generation::items_of(db, seen, kind)? {
                for (digest, name) in contents(&item) {
                    names.entry(digest).or_insert((item.key(), name));
                }
            }
        }
    }
    let resources = files.into_iter().map(|digest| {
        let (uri, name) = names.get(&digest).cloned().unwrap_or_default();
        Resource {
            uri,
            annotations: custody.map(Custody::annotations).unwrap_or_default(),
            ..Resource::new(&name, "sha256", &digest.hex())
        }
    });
    Ok(resources.collect())
}

/// What of an item a job can fetch, with the name of each.
fn contents(item: &Item) -> Vec<(Digest, String)> {
    match item {
        Item::Oci(image) => image
            .blobs
            .iter()
            .map(|blob| (*blob, format!("{}:{}", image.name, image.tag)))
            .collect(),
        Item::Pypi(project) => project
            .files
            .iter()
            .flat_map(|file| {
                let about = file
                    .core_metadata
                    .map(|d| (d, format!("{}.metadata", file.filename)));
                std::iter::once((file.d, file.filename.clone())).chain(about)
            })
            .collect(),
        Item::Toolcache(tool) => {
            vec![(
                tool.d,
                format!("{} {} {}", tool.name, tool.version, tool.arch),
            )]
        }
        Item::File(file) | Item::Doc(file) => vec![(file.d, file.name.clone())],
        Item::Action(action) => vec![(action.pack, action.name.clone())],
        Item::Selfupdate(_) => Vec::new(),
    }
}
