//! Every statement that is kept, held to the audit entry that names it.

use evidence::attestation::Which;
use evidence::dsse::DsseKey;
use evidence::proof::{self, Named};
use store::{Db, StoreError};

use crate::AttestError;

/// Most problems that are told.
const FINDINGS: usize = 100;

/// What is wrong with the statements of jobs, in words; empty when all is well. Reads all of them:
/// for a stopped appliance.
pub fn check(db: &Db) -> Result<Vec<String>, AttestError> {
    let mut problems = Vec::new();
    let mut failed = None;
    queue::each_attestation(db, |job, attempt, made| {
        let whose = format!("statements of attempt {attempt} at job {job}");
        let line = match audit::line(db, made.seq) {
            Ok(line) => line,
            Err(error) => return failed = Some(error),
        };
        let entry = line.and_then(|line| serde_json::from_str(&line.text).ok());
        let named = entry.as_ref().and_then(Named::of);
        let named = named.filter(|n| (n.job, n.attempt) == (job.get(), attempt.get()));
        let Some(named) = named else {
            return problems.push(format!("{whose}: audit entry {} names others", made.seq.0));
        };
        let key = DsseKey::from_pem(&made.key).ok();
        let Some(key) = key.filter(|key| key.id() == named.key) else {
            return problems.push(format!("{whose}: their key is not the one that was logged"));
        };
        for (which, bytes) in Which::ALL
            .into_iter()
            .zip([&made.provenance, &made.receipt])
        {
            let wrong = proof::envelope(which, bytes, &named, &key);
            problems.extend(
                wrong
                    .iter()
                    .map(|what| format!("{whose}: {}: {what}", which.file())),
            );
        }
    })?;
    problems.truncate(FINDINGS);
    match failed {
        Some(error) => Err(StoreError::from(error).into()),
        None => Ok(problems),
    }
}
