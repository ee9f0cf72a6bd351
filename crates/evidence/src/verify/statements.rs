//! The signed statements of jobs in an export: each as the entry that names it says, none left out.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{Open, Refused, SMALL};
use crate::attestation::Which;
use crate::dsse::{DsseKey, ENVELOPE_MAX_BYTES};
use crate::manifest::Manifest;
use crate::proof::{self, Named};

/// The public key of the statements, in PEM.
pub const KEY: &str = "attest.pub";
/// Says from which entry on statements are there, where they did not all fit.
pub const LEFT_OUT: &str = "jobs/left-out.json";

/// [`LEFT_OUT`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeftOut {
    /// Statements that earlier entries name are not there.
    pub before: u64,
}

/// Holds every statement to the entry that names it, and every entry to its statements.
pub(super) fn check(open: &mut Open, manifest: &Manifest) -> Result<(), Refused> {
    let mut lone: BTreeSet<String> = open
        .places
        .keys()
        .filter(|name| Which::ALL.iter().any(|which| name.ends_with(which.file())))
        .cloned()
        .collect();
    let named = std::mem::take(&mut open.attested);
    if lone.is_empty() && (named.is_empty() || manifest.filter.is_some()) {
        return Ok(());
    }
    let from = if open.places.contains_key(LEFT_OUT) {
        let left: LeftOut = open.json(LEFT_OUT, SMALL)?;
        open.verdict.statements_from = Some(left.before);
        left.before
    } else {
        0
    };
    let pem = open.text(KEY)?;
    let Ok(key) = DsseKey::from_pem(&pem) else {
        open.find(KEY, "is no public key of statements");
        return Err(Refused);
    };
    open.verdict.statements_key = key.id();
    for one in &named {
        for which in Which::ALL {
            let name = which.place(one.job, one.attempt);
            if lone.remove(&name) {
                statement(open, which, &name, one, &key)?;
            } else if manifest.filter.is_none() && one.seq >= from {
                let what = format!("is missing: entry {} names it", one.seq);
                open.find(&name, what);
            }
        }
    }
    for name in lone {
        open.find(&name, "is named by no entry that is shown");
    }
    Ok(())
}

fn statement(
    open: &mut Open,
    which: Which,
    name: &str,
    named: &Named,
    key: &DsseKey,
) -> Result<(), Refused> {
    let bytes = open.read(name, ENVELOPE_MAX_BYTES as u64)?;
    if named.key != key.id() {
        let what = format!("entry {} names another key than {KEY}", named.seq);
        open.find(name, what);
    }
    for what in proof::envelope(which, &bytes, named, key) {
        open.find(name, what);
    }
    open.verdict.statements += 1;
    Ok(())
}
