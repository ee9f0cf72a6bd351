//! What stands beside the log in an export: the chains of custody of bundles.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context;
use evidence::verify::{Anchors, Beside, Verdict, Wrong, each, verify};
use serde_json::Value;
use supply::bundles::{Checked, check_custody};

/// Largest file of a chain: a manifest.
const FILE_MAX_BYTES: u64 = 64 << 20;

/// What the export at `path` is worth, with all that stands in it.
pub(super) fn judge(path: &Path, anchors: &Anchors) -> anyhow::Result<Verdict> {
    let cannot = || format!("cannot verify {}", path.display());
    let mut verdict = verify(path, anchors).with_context(cannot)?;
    let mut chains = Vec::new();
    verdict
        .further(path, |beside| {
            chains = bundles(beside)?;
            Ok(chains.iter().map(|(_, chain)| words(chain)).collect())
        })
        .with_context(cannot)?;
    let mut lacking = Vec::new();
    each(path, |entry, _| lacking.extend(unknown(&chains, entry))).with_context(cannot)?;
    verdict
        .further(path, |_| match lacking.is_empty() {
            true => Ok(Vec::new()),
            false => Err(lacking),
        })
        .with_context(cannot)?;
    Ok(verdict)
}

/// Folder and record of each bundle.
type Chains = Vec<(String, Checked)>;

fn bundles(beside: &mut Beside) -> Result<Chains, Vec<Wrong>> {
    let mut folders: BTreeMap<String, BTreeMap<String, Vec<u8>>> = BTreeMap::new();
    let mut wrong = Vec::new();
    for path in beside.names("bundles/") {
        let (folder, name) = path.rsplit_once('/').unwrap_or_default();
        match beside.read(&path, FILE_MAX_BYTES) {
            Ok(bytes) => {
                let files = folders.entry(folder.to_owned()).or_default();
                files.insert(name.to_owned(), bytes);
            }
            Err(error) => wrong.push(error),
        }
    }
    let mut chains = Vec::new();
    for (folder, files) in folders {
        match check_custody(&files, beside.checkpoint()) {
            Ok(checked) => chains.push((folder, checked)),
            Err((file, what)) => wrong.push((format!("{folder}/{file}"), what)),
        }
    }
    match wrong.is_empty() {
        true => Ok(chains),
        false => Err(wrong),
    }
}

fn unknown<'a>(chains: &'a Chains, entry: &'a Value) -> impl Iterator<Item = Wrong> + 'a {
    let missing = chains.iter().filter(|(_, chain)| !chain.knows(entry));
    missing.map(|(folder, _)| {
        let what = format!("does not have entry {}, which is about it", entry["seq"]);
        (format!("{folder}/custody.json"), what)
    })
}

fn words(checked: &Checked) -> String {
    let custody = &checked.custody;
    let signers: Vec<&str> = custody.signers.iter().map(|s| s.name.as_str()).collect();
    format!(
        "bundle {} {} {}: signed by {} under the root statement {}; {} steps are in the log",
        custody.product,
        custody.channel,
        custody.seq,
        signers.join(", "),
        checked.root_fingerprint,
        custody.steps.len()
    )
}
