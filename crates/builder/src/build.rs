//! `bundle build`: from a lock to a folder that can be carried.
//!
//! Refuses a lock that the recipe has outgrown, a blob that is not what was locked, a key that
//! may not sign. Invariants: the folder has its name only when it is whole; its bytes are a
//! function of lock, trust root, slips and keys, whatever the host, the day and the cache.

mod delta;
mod folder;
mod texts;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bundle::Item;
use bundle::manifest::{CHUNK_BYTES, Manifest};
use bundle::pack::{Content, Draft, PackError, measure};
use bundle::sign::{KeyError, SecretKey};
use bundle::slip::{Have, Need};
use vocab::Digest;

use crate::lock::{Lock, LockError, LockedBlob};
use crate::recipe::Recipe;
use crate::source::{self, Means, SourceError};
use crate::trust::{Chain, TrustError};

pub use delta::Wants;
pub(crate) use delta::answers;
pub use folder::Program;

/// What a build needs beside recipe and lock.
#[derive(Debug)]
pub struct BuildOptions<'a> {
    /// Where the bundle's folder goes.
    pub out: &'a Path,
    /// The number of the bundle, if not the lock's.
    pub seq: Option<u64>,
    /// The trust root.
    pub trust: &'a Chain,
    /// Keys that sign now.
    pub keys: &'a [SecretKey],
    /// What an appliance has, with the digest of its slip: makes a delta.
    pub have: Option<&'a (Have, Digest)>,
    /// What an appliance lacks.
    pub need: Option<&'a Need>,
}

/// A bundle that was built.
#[derive(Debug)]
pub struct Built {
    /// Its folder.
    pub folder: PathBuf,
    /// What was signed.
    pub manifest: Manifest,
    /// SHA-256 of the manifest.
    pub digest: Digest,
    /// Ids of the keys that signed.
    pub signed_by: Vec<String>,
    /// How many release keys must sign.
    pub threshold: usize,
    /// Where the program to install from is.
    pub program: Program,
    /// What the need slip asks for, and whether it is in.
    pub wants: Wants,
}

/// Why a bundle could not be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The recipe moved on.
    #[error(
        "{}:{line}: {entry} is not locked as it stands there; run `cofferdam bundle lock`",
        path.display()
    )]
    NotLocked {
        /// The recipe.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The entry, as people call it.
        entry: String,
    },
    /// The lock is for another bundle.
    #[error("the lock is of {found}, the recipe of {wanted}; run `cofferdam bundle lock`")]
    OtherBundle {
        /// Of the lock.
        found: String,
        /// Of the recipe.
        wanted: String,
    },
    /// The trust root is of another site.
    #[error("the trust root speaks for {site}, and the recipe's product is {product}")]
    OtherSite {
        /// Of the root statement.
        site: String,
        /// Of the recipe.
        product: String,
    },
    /// Something could not be fetched.
    #[error("{}:{line}: {entry}", path.display())]
    Source {
        /// The recipe.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The entry, as people call it.
        entry: String,
        /// Why.
        #[source]
        source: Box<SourceError>,
    },
    /// The slip is of an appliance that follows something else.
    #[error("the have slip is of {found}, the recipe of {wanted}")]
    OtherSlip {
        /// Of the slip.
        found: String,
        /// Of the recipe.
        wanted: String,
    },
    /// The appliance is ahead.
    #[error(
        "the appliance imported number {at} already, and this would be {seq}; build with \
         --seq {}", at + 1
    )]
    Behind {
        /// Of the slip.
        at: u64,
        /// Of this bundle.
        seq: u64,
    },
    /// The folder is there.
    #[error("{} is there already; move it away, or lock again for the next number", .0.display())]
    Exists(PathBuf),
    /// The lock.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The trust root.
    #[error(transparent)]
    Trust(Box<TrustError>),
    /// Packing.
    #[error(transparent)]
    Pack(Box<PackError>),
    /// Signing.
    #[error("the manifest could not be signed")]
    Sign(#[from] KeyError),
    /// Release notes.
    #[error("the release notes are not what was locked; run `cofferdam bundle lock`")]
    Notes(#[source] Box<SourceError>),
    /// A file of the output.
    #[error("cannot write {}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl From<TrustError> for BuildError {
    fn from(error: TrustError) -> Self {
        Self::Trust(Box::new(error))
    }
}

impl From<PackError> for BuildError {
    fn from(error: PackError) -> Self {
        Self::Pack(Box::new(error))
    }
}

/// Builds the bundle of `lock`, which must be the recipe's.
pub fn build(
    recipe: &Recipe,
    lock: &Lock,
    options: &BuildOptions<'_>,
    means: &Means<'_>,
) -> Result<Built, BuildError> {
    check_lock(recipe, lock)?;
    let statement = options.trust.newest().statement();
    if statement.site != recipe.head.product {
        return Err(BuildError::OtherSite {
            site: statement.site.clone(),
            product: recipe.head.product.clone(),
        });
    }
    options
        .keys
        .iter()
        .try_for_each(|key| options.trust.admits(key))?;
    fetch(recipe, lock, means)?;
    let items = lock.items()?;
    let blobs = lock.blobs()?;
    let mut draft = draft(recipe, lock, items, options);
    let carried = delta::split(&mut draft, blobs, recipe, options)?;
    let contents = measured(&carried, means)?;
    let wants = delta::wants(&draft.items, options.need);
    let program = program(&draft);
    let folder = folder::Folder {
        draft,
        contents,
        limit_bytes: recipe.head.volume_bytes,
        program,
        trust: options.trust,
        keys: options.keys,
    };
    let (folder, manifest, digest) = folder.write(options.out, means)?;
    Ok(Built {
        folder,
        manifest,
        digest,
        signed_by: options
            .keys
            .iter()
            .map(|key| key.id().to_string())
            .collect(),
        threshold: statement.release.threshold,
        program,
        wants,
    })
}

/// Whether every entry of the recipe is locked as it stands.
pub fn check_lock(recipe: &Recipe, lock: &Lock) -> Result<(), BuildError> {
    let (head, of) = (&recipe.head, |product: &str, channel: &str| {
        format!("{product} {channel}")
    });
    if lock.product != head.product || lock.channel != head.channel {
        return Err(BuildError::OtherBundle {
            found: of(&lock.product, &lock.channel),
            wanted: of(&head.product, &head.channel),
        });
    }
    let wanted: Vec<String> = recipe
        .entries
        .iter()
        .map(|e| e.want.digest().to_string())
        .collect();
    for (entry, want) in recipe.entries.iter().zip(&wanted) {
        if !lock.pins.iter().any(|pin| pin.want == *want) {
            return Err(BuildError::NotLocked {
                path: recipe.path.clone(),
                line: entry.line,
                entry: entry.want.label(),
            });
        }
    }
    match lock.pins.iter().find(|pin| !wanted.contains(&pin.want)) {
        None => Ok(()),
        Some(pin) => Err(BuildError::NotLocked {
            path: recipe.path.clone(),
            line: 1,
            entry: pin.entry.clone(),
        }),
    }
}

fn fetch(recipe: &Recipe, lock: &Lock, means: &Means<'_>) -> Result<(), BuildError> {
    for entry in &recipe.entries {
        let want = entry.want.digest().to_string();
        let Some(pin) = lock.pins.iter().find(|pin| pin.want == want) else {
            continue;
        };
        source::fetch(&entry.want, pin, means).map_err(|source| BuildError::Source {
            path: recipe.path.clone(),
            line: entry.line,
            entry: entry.want.label(),
            source: Box::new(source),
        })?;
    }
    if let (Some(notes), Some(path)) = (&lock.notes, &recipe.head.notes)
        && !means.cache.has(&notes.d, notes.n)
    {
        let path = recipe.folder().join(path);
        let kept = means
            .cache
            .keep_expected(&path, &notes.d, "the release notes");
        kept.map_err(|e| BuildError::Notes(Box::new(e.into())))?;
    }
    Ok(())
}

fn draft(recipe: &Recipe, lock: &Lock, items: Vec<Item>, options: &BuildOptions<'_>) -> Draft {
    let head = &recipe.head;
    let own = env!("CARGO_PKG_VERSION").to_owned();
    Draft {
        product: head.product.clone(),
        channel: head.channel.clone(),
        seq: options.seq.unwrap_or(lock.seq),
        content: lock.content.clone(),
        arch: head.arch.clone(),
        created: lock.day.clone(),
        not_after: lock.not_after.clone(),
        security_epoch: head.security_epoch,
        min_appliance: head.min_appliance.clone().unwrap_or(own),
        rollback_of: head.rollback_of.clone(),
        audience: head.audience.clone(),
        root: options.trust.newest().number(),
        have_sha256: None,
        assumed: BTreeMap::new(),
        items,
        removes: lock.removes.clone(),
        replaces: lock.replaces.clone(),
        lock_sha256: Digest::of(lock.text().as_bytes()),
        notes: lock.notes.as_ref().map(|notes| notes.d),
    }
}

/// What the packer must know of each blob. Large ones are read once here, for their chunks.
fn measured(
    blobs: &[LockedBlob],
    means: &Means<'_>,
) -> Result<BTreeMap<Digest, Content>, BuildError> {
    let mut found = BTreeMap::new();
    for blob in blobs {
        let mut chunks = Vec::new();
        if blob.n > CHUNK_BYTES {
            means.watch.begin(&format!("measure {}", blob.d));
            let path = means.cache.path(&blob.d);
            let io = |source| BuildError::Io {
                path: path.clone(),
                source,
            };
            let file = std::fs::File::open(&path).map_err(io)?;
            let (digest, _, parts) = measure(file).map_err(io)?;
            if digest != blob.d {
                return Err(PackError::Changed(blob.d).into());
            }
            chunks = parts;
        }
        let content = Content {
            size: blob.n,
            media: blob.m.clone(),
            chunks,
        };
        found.insert(blob.d, content);
    }
    Ok(found)
}

/// The program that goes beside the manifest, to install from; an appliance whose slip lists that
/// very program can install from its own copy.
fn program(draft: &Draft) -> Program {
    let signed = draft.items.iter().find_map(|item| match item {
        Item::Selfupdate(own) if own.arch == "amd64" => Some(own.d),
        _ => None,
    });
    match signed {
        None => Program::None,
        Some(digest) if draft.assumed.contains_key(&digest) => Program::LeftOut(digest),
        Some(digest) => Program::Beside(digest),
    }
}
