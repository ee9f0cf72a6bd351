//! The verdict on a medium: signed by enough of those who may, and fit for this appliance.
//!
//! [`Sealed::verify`] says who signed and what; [`Verified::judge`] compares that with what was
//! imported here before. Both look at the manifest only, so that the answer is there before a
//! byte of any volume is read. Source: docs/bundle-format.md, "Verdict".

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use vocab::Digest;

use crate::manifest::{Item, Manifest};
use crate::refusal::Refusal;
use crate::root::{self, Root, SealedRoot};
use crate::sealed::Sealed;
use crate::version::compare_content;
use crate::{Version, sign};

/// How far ahead of the last import a sequence may be.
pub const SEQ_JUMP_MAX: u64 = 10_000;

/// Whom this appliance believes.
#[derive(Clone, Debug)]
pub enum Trust {
    /// Nobody yet but the first root statement of this fingerprint.
    Pinned(Digest),
    /// This statement and its lawful successors.
    Root(Box<Root>),
}

/// Somebody who signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signer {
    /// The key's id.
    pub key: sign::KeyId,
    /// Whose it is, by the root statement.
    pub name: String,
}

/// A bundle whose signatures hold.
#[derive(Clone, Debug)]
pub struct Verified {
    /// What was signed.
    pub manifest: Manifest,
    /// Its digest.
    pub digest: Digest,
    /// Who signed, sorted by name.
    pub signers: Vec<Signer>,
    /// The root statement in force with this medium.
    pub root: Root,
    /// Statements that the medium brings and that were not known, in order.
    pub new_roots: Vec<(Root, SealedRoot)>,
    /// The signed comment.
    pub comment: String,
    /// Root keys that signed an override for it, when they are enough.
    pub override_by: Vec<Signer>,
}

/// The one line that every signer signs beside the manifest.
#[must_use]
pub fn trusted_comment(manifest: &Manifest, digest: &Digest) -> String {
    let pairs: Vec<String> = comment_fields(manifest, digest)
        .into_iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    format!("{COMMENT} {}", pairs.join(" "))
}

/// The comment with which root keys override an expiry.
#[must_use]
pub fn override_comment(digest: &Digest) -> String {
    format!("cofferdam-override/1 manifest_sha256={}", digest.hex())
}

const COMMENT: &str = "cofferdam-bundle/1";

fn comment_fields(manifest: &Manifest, digest: &Digest) -> [(&'static str, String); 9] {
    [
        ("product", manifest.product.clone()),
        ("channel", manifest.channel.clone()),
        ("seq", manifest.seq.to_string()),
        ("content", manifest.content.clone()),
        ("arch", manifest.arch.join(",")),
        ("created", manifest.created.clone()),
        ("not_after", manifest.not_after.clone()),
        ("root", manifest.root.to_string()),
        ("manifest_sha256", digest.hex()),
    ]
}

impl Sealed {
    /// Whether enough of those who may sign have signed exactly this manifest.
    pub fn verify(&self, trust: &Trust) -> Result<Verified, Refusal> {
        let (root, new_roots) = self.follow(trust)?;
        let statement = root.statement();
        let digest = self.digest();
        let signatures = root::parse_all(&self.signatures)?;
        let good = root::count(
            &signatures,
            &self.manifest,
            &statement.release,
            &statement.revoked,
        )
        .quorum(&statement.release, root.number())?;
        // Only now is the manifest worth parsing.
        let manifest = Manifest::parse(&self.manifest)?;
        for (_, signature) in &good {
            compare_comment(signature, &manifest, &digest)?;
        }
        if manifest.root > root.number() {
            return Err(Refusal::Root {
                number: manifest.root,
                reason: format!(
                    "the bundle was built under it, and the medium brings statements up to {}",
                    root.number()
                ),
            });
        }
        if manifest.product != statement.site {
            return Err(Refusal::Audience {
                meant: format!("product {}", manifest.product),
                this: format!("of site {}", statement.site),
            });
        }
        Ok(Verified {
            comment: trusted_comment(&manifest, &digest),
            override_by: self.overrides(&root, &digest)?,
            signers: signers(good.iter().map(|(key, _)| key)),
            manifest,
            digest,
            root,
            new_roots,
        })
    }

    /// Goes from what is trusted to the newest statement on the medium.
    fn follow(&self, trust: &Trust) -> Result<(Root, Vec<(Root, SealedRoot)>), Refusal> {
        let mut new = Vec::new();
        let mut root = match trust {
            Trust::Root(root) => (**root).clone(),
            Trust::Pinned(fingerprint) => {
                let first = self.roots.get(&1).ok_or_else(|| Refusal::Root {
                    number: 1,
                    reason: "ROOT.1.json is not on the medium; copy the medium again".to_owned(),
                })?;
                let root = first.pinned(fingerprint)?;
                new.push((root.clone(), first.clone()));
                root
            }
        };
        if let Some(same) = self.roots.get(&root.number())
            && same.bytes != root.bytes()
        {
            return Err(Refusal::Root {
                number: root.number(),
                reason: "the medium has another statement of this number than this appliance"
                    .to_owned(),
            });
        }
        let above: Vec<&SealedRoot> = self
            .roots
            .range(root.number() + 1..)
            .map(|(_, sealed)| sealed)
            .collect();
        for sealed in above {
            let next = sealed.after(&root)?;
            new.push((next.clone(), sealed.clone()));
            root = next;
        }
        Ok((root, new))
    }

    fn overrides(&self, root: &Root, digest: &Digest) -> Result<Vec<Signer>, Refusal> {
        let statement = root.statement();
        let meant = override_comment(digest);
        let signatures: Vec<_> = root::parse_all(&self.overrides)?
            .into_iter()
            .filter(|s| s.comment == meant)
            .collect();
        if signatures.is_empty() {
            return Ok(Vec::new());
        }
        let count = root::count(
            &signatures,
            &self.manifest,
            &statement.root,
            &statement.revoked,
        );
        let enough = count.quorum(&statement.root, root.number());
        Ok(enough.map_or(Vec::new(), |good| signers(good.iter().map(|(k, _)| k))))
    }
}

fn signers<'a>(keys: impl Iterator<Item = &'a root::NamedKey>) -> Vec<Signer> {
    let mut list: Vec<Signer> = keys
        .map(|key| Signer {
            key: key.id.clone(),
            name: key.name.clone(),
        })
        .collect();
    list.sort_by(|a, b| a.name.cmp(&b.name));
    list
}

fn compare_comment(
    signature: &sign::Signature,
    manifest: &Manifest,
    digest: &Digest,
) -> Result<(), Refusal> {
    let differs = |field: &str, comment: &str, manifest: &str| Refusal::Comment {
        file: signature.file.clone(),
        field: field.to_owned(),
        comment: comment.to_owned(),
        manifest: manifest.to_owned(),
    };
    let mut words = signature.comment.split(' ');
    let first = words.next().unwrap_or_default();
    if first != COMMENT {
        return Err(differs("the format", first, COMMENT));
    }
    for (name, value) in comment_fields(manifest, digest) {
        let word = words.next().unwrap_or_default();
        if word != format!("{name}={value}") {
            return Err(differs(name, word, &value));
        }
    }
    match words.next() {
        Some(more) => Err(differs("what follows", more, "nothing")),
        None => Ok(()),
    }
}

/// What this appliance is and has, as far as a verdict needs it.
#[derive(Clone, Debug)]
pub struct Appliance {
    /// Its name.
    pub name: String,
    /// Its program's version.
    pub version: Version,
    /// `amd64` or `arm64`.
    pub arch: String,
    /// Today as `YYYY-MM-DD`: the later of the clock's day and the newest signed day seen.
    pub day: String,
    /// Highest sequence that was imported in the bundle's channel; 0 for none.
    pub seq: u64,
    /// Highest security epoch that was imported.
    pub epoch: u64,
    /// The active generation: digest of its manifest, version of its content.
    pub active: Option<(Digest, String)>,
    /// Keys of the active generation's items, and its pins.
    pub keys: BTreeSet<String>,
    /// What each pin stands for now.
    pub pins: BTreeMap<String, String>,
    /// Whether the operator accepts an expired bundle that enough root keys vouch for.
    pub quorum_override: bool,
}

/// What is to be done with a bundle that may come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judged {
    /// It is new.
    New,
    /// It is the one that is active: nothing to do.
    Already,
}

impl Verified {
    /// Whether this appliance may take it.
    pub fn judge(&self, appliance: &Appliance) -> Result<Judged, Refusal> {
        let manifest = &self.manifest;
        if let Some((digest, _)) = &appliance.active
            && *digest == self.digest
        {
            return Ok(Judged::Already);
        }
        self.judge_audience(appliance)?;
        self.judge_seq(appliance)?;
        let overridden = appliance.quorum_override && !self.override_by.is_empty();
        if manifest.not_after < appliance.day && !overridden {
            return Err(Refusal::Expired {
                not_after: manifest.not_after.clone(),
                day: appliance.day.clone(),
            });
        }
        if manifest.security_epoch < appliance.epoch {
            return Err(Refusal::Epoch {
                got: manifest.security_epoch,
                at: appliance.epoch,
            });
        }
        self.judge_moves(appliance)?;
        Ok(Judged::New)
    }

    fn judge_audience(&self, appliance: &Appliance) -> Result<(), Refusal> {
        let manifest = &self.manifest;
        if !manifest.audience.is_empty() && !manifest.audience.contains(&appliance.name) {
            return Err(Refusal::Audience {
                meant: format!("the appliances {}", manifest.audience.join(", ")),
                this: appliance.name.clone(),
            });
        }
        if !manifest.arch.contains(&appliance.arch) {
            return Err(Refusal::Arch {
                got: manifest.arch.join(", "),
                this: appliance.arch.clone(),
            });
        }
        if Version::parse(&manifest.min_appliance).is_none_or(|needs| needs > appliance.version) {
            return Err(Refusal::Newer {
                needs: manifest.min_appliance.clone(),
                this: appliance.version.to_string(),
            });
        }
        Ok(())
    }

    /// The floor of this bundle's channel: what was imported last, unless a root statement that
    /// this medium brings sets it anew. A statement does so once, when it is accepted.
    #[must_use]
    pub fn floor(&self, imported: u64) -> u64 {
        let resets = self.new_roots.iter().rev();
        resets
            .filter_map(|(root, _)| root.statement().floor_reset.get(&self.manifest.channel))
            .next()
            .copied()
            .unwrap_or(imported)
    }

    fn judge_seq(&self, appliance: &Appliance) -> Result<(), Refusal> {
        let manifest = &self.manifest;
        let floor = self.floor(appliance.seq);
        if manifest.seq <= floor {
            return Err(Refusal::Rollback {
                channel: manifest.channel.clone(),
                got: manifest.seq,
                at: floor,
            });
        }
        if manifest.seq - floor > SEQ_JUMP_MAX {
            return Err(Refusal::SeqJump {
                channel: manifest.channel.clone(),
                got: manifest.seq,
                at: floor,
                max: SEQ_JUMP_MAX,
            });
        }
        if let Some((_, content)) = &appliance.active
            && compare_content(&manifest.content, content).is_lt()
            && manifest.rollback_of.as_ref() != Some(content)
        {
            return Err(Refusal::ContentBack {
                got: manifest.content.clone(),
                at: content.clone(),
            });
        }
        Ok(())
    }

    fn judge_moves(&self, appliance: &Appliance) -> Result<(), Refusal> {
        let manifest = &self.manifest;
        let said = |key: &str, old: &str| {
            manifest
                .replaces
                .get(key)
                .is_some_and(|was| was == "*" || was == old)
        };
        let now: BTreeMap<String, String> = manifest.items.iter().flat_map(Item::pins).collect();
        for (key, old) in &appliance.pins {
            let how = match now.get(key) {
                Some(new) if new == old || said(key, old) => continue,
                Some(new) => format!("moves from {old} to {new}"),
                None => continue,
            };
            return Err(Refusal::TagMoved {
                key: key.clone(),
                how,
            });
        }
        let kept: BTreeSet<String> = manifest.items.iter().map(Item::key).collect();
        for key in &appliance.keys {
            if !kept.contains(key) && manifest.removes.binary_search(key).is_err() {
                return Err(Refusal::TagMoved {
                    key: key.clone(),
                    how: "is gone".to_owned(),
                });
            }
        }
        Ok(())
    }
}
