//! What is signed of a job, on its page: checked as it is shown, with links to take it away.

use evidence::attestation::Which;
use vocab::{Attempt, JobId};

use crate::api::attest::{Standing, log_path, path, proved, standing};
use crate::fault::Fault;
use crate::state::App;
use crate::view::{Link, SignedView};

/// Where the statements of an attempt stand. Signatures, digests and the way to the signed root are
/// checked here and now; the log, which may be long, is left to `run verify`.
pub(super) fn view(app: &App, job: JobId, attempt: Attempt) -> Result<SignedView, Fault> {
    let made = match app.store.read(|db| standing(db, job, attempt))? {
        Standing::Attested(made) => made,
        Standing::Due => {
            return Ok(SignedView {
                class: "warned",
                text: "Its statements are being signed; look again in a moment.".to_owned(),
                ..SignedView::default()
            });
        }
        Standing::Running | Standing::None => return Ok(SignedView::default()),
    };
    let mut links: Vec<Link> = Which::ALL
        .into_iter()
        .map(|which| {
            let name = match which {
                Which::Provenance => "Provenance",
                Which::Receipt => "Where it ran",
            };
            Link::new(name.to_owned(), path(which, job, attempt))
        })
        .collect();
    links.push(Link::new("Log".to_owned(), log_path(job, attempt)));
    let (class, text, detail) = match app.seal.as_ref().map(|seal| (seal, proved(app, &made))) {
        Some((seal, Ok(proof))) => {
            let checks = proof.check(seal.key());
            let wrong = checks.iter().find(|check| check.holds == Some(false));
            match wrong {
                None => (
                    "yes",
                    format!(
                        "Signed, and entry {} of the audit log names it.",
                        made.seq.0
                    ),
                    "The command cofferdam run verify checks that and the log too, here or anywhere."
                        .to_owned(),
                ),
                Some(check) => (
                    "no",
                    "What is signed of this job does not hold.".to_owned(),
                    format!("{}: {}.", check.what, check.found),
                ),
            }
        }
        _ => (
            "warned",
            "Signed, and not to be checked here now: the audit log cannot be proved.".to_owned(),
            "Run cofferdam fsck.".to_owned(),
        ),
    };
    Ok(SignedView {
        class,
        text,
        detail,
        links,
    })
}
