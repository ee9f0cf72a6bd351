//! The statements of jobs in an export: each that is changed, foreign, gone or another job's is
//! refused with what and where, by this verifier, by the shell's and by Python's.

use std::process::Command;

use evidence::attestation::{BUILD_TYPE, PROVENANCE, STATEMENT, WHERE_IT_RAN, Which, invocation};
use evidence::dsse::{DsseSigner, IN_TOTO};
use evidence::verify::{LEFT_OUT, STATEMENTS_KEY};
use serde_json::json;
use vocab::JobId;

use super::forge::part;
use super::*;
use crate::{Entry, Who};

const JOBS: [i64; 3] = [7, 8, 9];
const PLACE: &str = "jobs/8/provenance.dsse.json";

fn sealed(signer: &DsseSigner, which: Which, job: i64) -> Vec<u8> {
    let invocation = invocation("urn:x", job, 1);
    let (kind, predicate) = match which {
        Which::Provenance => (
            PROVENANCE,
            json!({
                "buildDefinition": {
                    "buildType": BUILD_TYPE, "externalParameters": {}, "internalParameters": {},
                    "resolvedDependencies": [],
                },
                "runDetails": {
                    "builder": { "id": "urn:x", "version": {}, "builderDependencies": [] },
                    "metadata": { "invocationId": invocation }, "byproducts": [],
                },
            }),
        ),
        Which::Receipt => (
            WHERE_IT_RAN,
            json!({
                "invocationId": invocation, "outcome": "success",
                "place": {}, "could": {}, "did": {}, "unread": [],
            }),
        ),
    };
    let log = hex::encode(Sha256::digest(job.to_string()));
    let statement = json!({
        "_type": STATEMENT, "predicateType": kind, "predicate": predicate,
        "subject": [
            { "name": "c", "digest": { "gitCommit": "00" } },
            { "name": "log", "digest": { "sha256": log } },
        ],
    });
    signer.seal(IN_TOTO, statement.to_string().as_bytes())
}

/// A log with three jobs that were attested, each by `signer`, and the files to export beside it.
fn attested(bed: &Bed, by: &DsseSigner) -> Vec<Extra> {
    let mut files = vec![(STATEMENTS_KEY.to_owned(), by.key().pem().into_bytes())];
    let hash = |bytes: &[u8]| format!("sha256:{}", hex::encode(Sha256::digest(bytes)));
    for job in JOBS {
        bed.append(2);
        let mut entry = Entry::success(Kind::JobAttested)
            .object("job", JobId(job).tagged(), "a \"key\": of attempt")
            .detail("attempt", 1)
            .detail("key", by.key().id())
            .detail("log", hash(job.to_string().as_bytes()));
        for which in Which::ALL {
            let bytes = sealed(by, which, job);
            entry = entry.detail(which.detail(), hash(&bytes));
            files.push((which.place(job, 1), bytes));
        }
        bed.store
            .write::<_, Error>(|tx| Ok(bed.log.append(tx, &Who::system(), entry).map(drop)?))
            .unwrap();
    }
    bed.append(2);
    files
}

/// The export with these files, signed by whoever has the log's own keys.
fn exported(bed: &Bed, wanted: Wanted, files: Vec<Extra>) -> PathBuf {
    let export = Export::begin(&bed.store, &bed.seal, wanted).unwrap();
    let files = files.into_iter().map(Ok);
    let written = export.write(Vec::new(), from_unix_ms(START_MS), files, &mut |_| {});
    let path = bed.dir.path().join("j.cfa");
    fs::write(&path, written.unwrap().1).unwrap();
    path
}

fn script(program: &str, args: &[&str]) -> (bool, String) {
    let out = Command::new(program).args(args).output().unwrap();
    let text = String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned();
    (out.status.success(), text)
}

/// What the verifier in Python says of an export.
pub(super) fn by_python(path: &Path) -> (bool, String) {
    let verifier = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/audit/verify.py");
    script("python3", &[verifier, path.to_str().unwrap()])
}

/// What `verify.sh` says of it.
pub(super) fn by_shell(path: &Path) -> (bool, String) {
    let dir = tempfile::tempdir().unwrap();
    let into = dir.path().to_str().unwrap();
    let (good, text) = script("tar", &["-xf", path.to_str().unwrap(), "-C", into]);
    assert!(good, "{text}");
    script("sh", &[dir.path().join("verify.sh").to_str().unwrap()])
}

#[test]
fn statements_that_their_entries_name_are_taken_by_every_verifier() {
    let (bed, signer) = (bed(0), DsseSigner::new(&[2; 32]).unwrap());
    let files = attested(&bed, &signer);
    let path = exported(&bed, Wanted::default(), files);
    let verdict = judged(&path, &bed.anchors());
    assert!(verdict.good, "{}", words(&verdict));
    assert_eq!(verdict.statements, 6);
    assert_eq!(verdict.statements_key, signer.key().id());
    let (good, text) = by_python(&path);
    assert!(good, "{text}");
    let (good, text) = by_shell(&path);
    assert!(good && text.contains("6 statements of jobs"), "{text}");
}

#[test]
fn each_wrong_statement_is_refused_by_every_verifier_with_what_and_where() {
    let (bed, signer) = (bed(0), DsseSigner::new(&[2; 32]).unwrap());
    let stranger = DsseSigner::new(&[3; 32]).unwrap();
    let files = attested(&bed, &signer);
    type Change<'a> = &'a dyn Fn(&mut Vec<Extra>);
    let cases: [(&str, &str, Change<'_>); 6] = [
        (PLACE, "its digest is not the one in entry 5", &|files| {
            let bytes = part(files, PLACE);
            let at = bytes.len() / 3;
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        }),
        (PLACE, "no signature by the key", &|files| {
            *part(files, PLACE) = sealed(&stranger, Which::Provenance, 8);
        }),
        (PLACE, "is missing: entry 5 names it", &|files| {
            files.retain(|(name, _)| name != PLACE);
        }),
        (PLACE, "not of attempt 1 at job 8", &|files| {
            *part(files, PLACE) = sealed(&signer, Which::Provenance, 9);
        }),
        ("jobs/7/receipt.dsse.json", "not well-formed", &|files| {
            *part(files, "jobs/7/receipt.dsse.json") = sealed(&signer, Which::Provenance, 7);
        }),
        (
            "jobs/7/receipt.dsse.json",
            "names another key than attest.pub",
            &|files| {
                *part(files, STATEMENTS_KEY) = stranger.key().pem().into_bytes();
            },
        ),
    ];
    for (place, what, change) in cases {
        let mut files = files.clone();
        change(&mut files);
        let path = exported(&bed, Wanted::default(), files);
        let verdict = judged(&path, &bed.anchors());
        let found = verdict
            .findings
            .iter()
            .find(|found| found.file == place && found.what.contains(what));
        assert!(found.is_some(), "{what}: {}", words(&verdict));
        let (good, text) = by_python(&path);
        assert!(!good, "{what}: {text}");
        let (good, text) = by_shell(&path);
        assert!(!good && text.contains("REFUSED"), "{what}: {text}");
    }
    let mut more = files;
    more.push((
        Which::Receipt.place(99, 1),
        sealed(&signer, Which::Receipt, 99),
    ));
    let path = exported(&bed, Wanted::default(), more);
    let said = words(&judged(&path, &bed.anchors()));
    assert!(said.contains("jobs/99/receipt.dsse.json"), "{said}");
    assert!(!by_python(&path).0);
}

/// The log itself names what a stranger signed, or the statement of another job: no digest differs.
#[test]
fn a_log_that_names_wrong_statements_is_refused_too() {
    let stranger = DsseSigner::new(&[3; 32]).unwrap();
    let signer = DsseSigner::new(&[2; 32]).unwrap();
    let bed = bed(0);
    let mut files = attested(&bed, &stranger);
    *part(&mut files, STATEMENTS_KEY) = signer.key().pem().into_bytes();
    let path = exported(&bed, Wanted::default(), files);
    let said = words(&judged(&path, &bed.anchors()));
    assert!(said.contains("no signature by the key"), "{said}");
    assert!(!by_python(&path).0);
    assert!(!by_shell(&path).0);
}

#[test]
fn what_a_filter_hides_or_a_limit_leaves_out_is_not_missed() {
    let (bed, signer) = (bed(0), DsseSigner::new(&[2; 32]).unwrap());
    let files = attested(&bed, &signer);
    let filtered = Wanted {
        kind: Some("job.*".into()),
        ..Wanted::default()
    };
    let path = exported(&bed, filtered, Vec::new());
    let verdict = judged(&path, &bed.anchors());
    assert!(verdict.good, "{}", words(&verdict));
    assert!(by_python(&path).0 && by_shell(&path).0);

    // Only the newest job's, which entry 8 names.
    let mut newest: Vec<Extra> = files
        .into_iter()
        .filter(|(name, _)| !name.starts_with("jobs/7") && !name.starts_with("jobs/8"))
        .collect();
    let left = |before: u64| {
        (
            LEFT_OUT.to_owned(),
            json!({ "before": before }).to_string().into(),
        )
    };
    newest.push(left(8));
    let path = exported(&bed, Wanted::default(), newest.clone());
    let verdict = judged(&path, &bed.anchors());
    assert!(verdict.good, "{}", words(&verdict));
    assert_eq!((verdict.statements, verdict.statements_from), (2, Some(8)));
    assert!(by_python(&path).0 && by_shell(&path).0);
    newest.pop();
    newest.push(left(5));
    let path = exported(&bed, Wanted::default(), newest);
    assert!(!judged(&path, &bed.anchors()).good);
    assert!(!by_python(&path).0 && !by_shell(&path).0);
}
