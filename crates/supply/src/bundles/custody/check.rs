//! Checking a record that was carried away: signatures, digests, and every step in the log.
//!
//! Needs no appliance. What it finds names the file; nothing is believed by halves.

use std::collections::BTreeMap;
use std::path::PathBuf;

use audit::leaf_hash;
use bundle::root::SealedRoot;
use bundle::{Refusal, Sealed, Trust, Verified, strict};
use evidence::checkpoint::Checkpoint;
use evidence::{manifest, tree};
use serde_json::Value;
use vocab::Digest;

use super::{Custody, FORMAT, Step, What};

const RECORD: &str = "custody.json";

/// A record that holds.
#[derive(Clone, Debug)]
pub struct Checked {
    /// What it says.
    pub custody: Custody,
    /// SHA-256 of the first root statement: to be compared with the paper.
    pub root_fingerprint: String,
}

impl Checked {
    /// Whether the record has an entry that its export shows and that is about the bundle.
    #[must_use]
    pub fn knows(&self, entry: &Value) -> bool {
        let object = entry["obj"]["id"].as_str().unwrap_or_default();
        let kind = entry["act"].as_str().unwrap_or_default();
        let about = object == format!("bundle:{}", self.custody.manifest.hex());
        let seq = entry["seq"].as_i64();
        !about
            || What::of(kind).is_none()
            || self.custody.steps.iter().any(|step| Some(step.seq) == seq)
    }
}

/// Checks the files of one bundle, by their names in its folder, against the log under
/// `checkpoint`.
///
/// Errors: the file that is wrong, and what is wrong with it.
pub fn check(
    files: &BTreeMap<String, Vec<u8>>,
    checkpoint: &Checkpoint,
) -> Result<Checked, (String, String)> {
    let record = files.get(RECORD).ok_or_else(|| at(RECORD, "is missing"))?;
    let custody: Custody = strict::from_slice(record)
        .map_err(|e| at(RECORD, format!("is no record of custody: {e}")))?;
    if custody.format != FORMAT {
        return Err(at(RECORD, format!("is not of the form {FORMAT}")));
    }
    let (verified, root_fingerprint) = signed(files)?;
    agrees(&custody, &verified, &root_fingerprint).map_err(|what| at(RECORD, what))?;
    let mut next = 0;
    for step in &custody.steps {
        let wrong = |what: &str| at(RECORD, format!("its step of entry {} {what}", step.seq));
        if step.seq < next {
            return Err(wrong("is out of order"));
        }
        next = step.seq + 1;
        logged(&custody, step, checkpoint).map_err(wrong)?;
    }
    let has = |what: What| custody.steps.iter().any(|step| step.what == what);
    if custody.generations.is_empty() == has(What::Committed) || !has(What::Verified) {
        return Err(at(RECORD, "lacks the entries of its import"));
    }
    if !custody.generations.is_empty() && !has(What::Trusted) {
        return Err(at(RECORD, "lacks the entry of its root statement"));
    }
    Ok(Checked {
        custody,
        root_fingerprint,
    })
}

fn at(file: &str, what: impl Into<String>) -> (String, String) {
    (file.to_owned(), what.into())
}

/// Who signed what was carried, from the first root statement on.
fn signed(files: &BTreeMap<String, Vec<u8>>) -> Result<(Verified, String), (String, String)> {
    const NAME: &str = "MANIFEST.json";
    let manifest = files.get(NAME).ok_or_else(|| at(NAME, "is missing"))?;
    let mut sealed = Sealed {
        dir: PathBuf::new(),
        manifest: manifest.clone(),
        signatures: Vec::new(),
        overrides: Vec::new(),
        roots: BTreeMap::new(),
        strays: Vec::new(),
    };
    for (name, bytes) in files {
        let text = || {
            String::from_utf8(bytes.clone())
                .map(|text| (name.clone(), text))
                .map_err(|_| at(name, "is not text"))
        };
        let number = name
            .strip_prefix("ROOT.")
            .and_then(|rest| rest.split_once(".json"))
            .and_then(|(number, rest)| Some((number.parse::<u64>().ok()?, rest)));
        match (name.as_str(), number) {
            (NAME | RECORD, _) => {}
            (_, Some((number, ""))) => {
                sealed
                    .roots
                    .entry(number)
                    .or_default()
                    .bytes
                    .clone_from(bytes);
            }
            (_, Some((number, _))) => {
                let root: &mut SealedRoot = sealed.roots.entry(number).or_default();
                root.signatures.push(text()?);
            }
            (other, None) if other.starts_with("MANIFEST.json.") => {
                sealed.signatures.push(text()?);
            }
            (other, None) => return Err(at(other, "belongs to no bundle")),
        }
    }
    let first = sealed.roots.get(&1).map(|root| Digest::of(&root.bytes));
    let first = first.ok_or_else(|| at("ROOT.1.json", "is missing"))?;
    let verified = sealed.verify(&Trust::Pinned(first)).map_err(|refusal| {
        let file = match &refusal {
            Refusal::Root { number, .. } => format!("ROOT.{number}.json"),
            _ => NAME.to_owned(),
        };
        at(&file, format!("is not signed as it must be: {refusal}"))
    })?;
    Ok((verified, first.hex()))
}

/// Whether the record says of the bundle what was signed.
fn agrees(custody: &Custody, verified: &Verified, root: &str) -> Result<(), &'static str> {
    let manifest = &verified.manifest;
    let holds = [
        (
            custody.manifest == verified.digest,
            "names another manifest",
        ),
        (
            (&custody.product, &custody.channel, custody.seq)
                == (&manifest.product, &manifest.channel, manifest.seq),
            "names another bundle than the manifest",
        ),
        (
            (&custody.content, &custody.created, &custody.not_after)
                == (&manifest.content, &manifest.created, &manifest.not_after),
            "does not say what the manifest says",
        ),
        (
            custody.lock == Some(manifest.lock_sha256),
            "names another lock than the manifest",
        ),
        (
            custody.signers == verified.signers && custody.comment == verified.comment,
            "names other signers than those who signed",
        ),
        (
            custody.root_fingerprint.as_deref() == Some(root),
            "names another root statement",
        ),
    ];
    match holds.into_iter().find(|(holds, _)| !holds) {
        Some((_, what)) => Err(what),
        None => Ok(()),
    }
}

/// Whether a step is an entry of the log that says what the step says.
fn logged(custody: &Custody, step: &Step, checkpoint: &Checkpoint) -> Result<(), &'static str> {
    let index = u64::try_from(step.seq).map_err(|_| "is no entry")?;
    let proof: Option<Vec<tree::Hash>> = step.proof.iter().map(|h| manifest::hash(h)).collect();
    let proof = proof.ok_or("has no proof")?;
    let leaf = leaf_hash(step.line.as_bytes());
    if !tree::includes(&leaf, index, checkpoint.size, &proof, &checkpoint.root) {
        return Err("is not in the log: its line or its proof was changed");
    }
    let entry: Value = serde_json::from_str(&step.line).map_err(|_| "has no line of an entry")?;
    let said = entry["seq"].as_i64() == Some(step.seq)
        && entry["t"] == step.t.as_str()
        && entry["who"]["id"] == step.who.as_str();
    if !said {
        return Err("has another place, time or person than its line");
    }
    if entry["act"] != step.what.kind() {
        return Err("is of another kind than its line");
    }
    let object = entry["obj"]["id"].as_str().unwrap_or_default();
    if step.what.is_about_it() && object != format!("bundle:{}", custody.manifest.hex()) {
        return Err("is about another bundle");
    }
    let ours = |value: &Value| {
        value
            .as_i64()
            .is_some_and(|id| custody.generations.contains(&id))
    };
    let details = &entry["d"];
    let fits = match step.what {
        What::Committed => {
            ours(&details["generation"])
                && details["manifest"] == custody.manifest.to_string().as_str()
        }
        What::Undone => ours(&details["from"]),
        What::Used | What::Slip => ours(&entry["gen"]),
        What::Trusted => {
            object == "root:1"
                && details["fingerprint"].as_str() == custody.root_fingerprint.as_deref()
        }
        _ => true,
    };
    match fits {
        true => Ok(()),
        false => Err("does not speak of this bundle, its generations or its root statement"),
    }
}
