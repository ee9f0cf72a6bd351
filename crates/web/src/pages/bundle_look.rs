//! The verdict on a medium before anything of its payload is read: who signed, what changes here,
//! whom that touches, what is still lacking then.

use std::path::PathBuf;

use axum::extract::Query;
use axum::response::Response;
use bundle::{Judged, Verified};
use serde::Deserialize;
use supply::bundles::{self, Plan};
use vocab::{Digest, Stopwatch};

use super::bundle_about::{self as about, state};
use super::{bundle_changes, frame, render, see, wants};
use crate::api::bundles::medium;
use crate::fault::Fault;
use crate::guard::Ctx;
use crate::respond::sentence;
use crate::state::App;
use crate::view::bundles::{ImportForm, Look, Refused, Verdict};
use crate::view::{Frame, Row, State};
use crate::{href, uses, words};

#[derive(Deserialize)]
pub(crate) struct Which {
    #[serde(default)]
    medium: String,
    #[serde(default)]
    quorum_override: bool,
}

/// `GET /bundles/look?medium=`
pub(crate) async fn page(ctx: Ctx, Query(which): Query<Which>) -> Result<Response, Fault> {
    let text = which.medium.trim().to_owned();
    if text.is_empty() {
        return Ok(see("/bundles"));
    }
    let frame = frame(&ctx, "Look at a medium", "Bundles").await?;
    let place = match medium(&ctx, &PathBuf::from(&text)) {
        Ok(place) => place,
        Err(fault) => return refused(frame, &text, about::told(&fault), &fault),
    };
    let (app, principal) = (ctx.app.clone(), ctx.principal.clone());
    let quorum_override = which.quorum_override;
    ctx.app
        .off(move || {
            let watch = Stopwatch::start();
            let plan = match app.intake.plan(&place, quorum_override) {
                Ok(plan) => plan,
                Err(error) => {
                    let fault = Fault::from(error);
                    if fault.cause.is_some() {
                        return Err(fault);
                    }
                    return refused(frame, &text, about::told(&fault), &fault);
                }
            };
            let ms = i64::try_from(watch.elapsed().as_millis()).unwrap_or(i64::MAX);
            let took = words::span(ms);
            let (verdict, why) = verdict(&app, &principal, plan, took, &text, quorum_override)?;
            render(&Look {
                frame,
                medium: words::plain(&text),
                refused: why,
                verdict: Some(verdict),
            })
        })
        .await
}

/// The page of a medium on which nothing can be believed.
fn refused(frame: Frame, medium: &str, why: Refused, fault: &Fault) -> Result<Response, Fault> {
    let mut page = render(&Look {
        frame,
        medium: words::plain(medium),
        refused: Some(why),
        verdict: None,
    })?;
    *page.status_mut() = fault.status;
    Ok(page)
}

fn verdict(
    app: &App,
    reader: &access::Principal,
    plan: Plan,
    took: String,
    medium: &str,
    quorum_override: bool,
) -> Result<(Verdict, Option<Refused>), Fault> {
    let now = app.clock.now();
    let uses = uses::of_all_repos(app)?;
    let verified = &plan.verified;
    let (diff, lacking, against) = app.store.read(|db| {
        let diff = bundles::diff(db, verified, &uses)?;
        let wants = supply::generation::wants(db)?;
        let lacking = bundles::still_wanted(wants, &verified.manifest.items);
        let active = supply::generation::active(db)?;
        let against = match active {
            Some(id) => format!("against generation {}", id.0),
            None => "nothing is served yet".to_owned(),
        };
        let lines = wants::lines(db, reader, &lacking, now)?;
        Ok::<_, Fault>((diff, (lacking.len(), lines), against))
    })?;
    let facts = facts(&plan);
    let manifest = &verified.manifest;
    let (state, why, import) = match plan.judged {
        Ok(Judged::New) => {
            let note = format!(
                "{} are read from the medium. Jobs see nothing of it until all is there.",
                words::size(plan.missing_bytes)
            );
            let form = ImportForm {
                word: "Import",
                medium: medium.to_owned(),
                quorum_override,
                note,
            };
            (state("may come in", "ok"), None, Some(form))
        }
        Ok(Judged::Already) => {
            let note = "It is active already; only new root statements would be taken over.";
            let form = (!verified.new_roots.is_empty()).then(|| ImportForm {
                word: "Take over root statements",
                medium: medium.to_owned(),
                quorum_override,
                note: note.to_owned(),
            });
            (state("active already", "ok"), None, form)
        }
        Err(error) => (REFUSED, Some(about::refused(error)?), None),
    };
    let can_override =
        why.as_ref().is_some_and(|why| why.code == "E_EXPIRED") && !verified.override_by.is_empty();
    let shown = Verdict {
        name: format!("{} {} {}", manifest.product, manifest.channel, manifest.seq),
        state,
        took,
        manifest: verified.digest.to_string(),
        import,
        override_href: can_override.then(|| {
            let medium = href::value(medium);
            format!("/bundles/look?medium={medium}&quorum_override=true")
        }),
        facts,
        signed: signed(verified),
        comment: words::plain(&verified.comment),
        strays: plan.strays.iter().map(|name| words::plain(name)).collect(),
        changes: bundle_changes::changes(&diff, against),
        lacking_count: words::count(lacking.0 as u64, "name"),
        lacking: lacking.1,
    };
    Ok((shown, why))
}

const REFUSED: State = state("refused", "bad");

fn signed(verified: &Verified) -> Vec<Row> {
    let release = &verified.root.statement().release;
    let mut rows = vec![Row::new(
        "needed",
        format!("{} of {}", release.threshold, release.keys.len()),
    )];
    rows.extend(about::signed_by(&verified.signers, &verified.override_by));
    let number = verified.root.number();
    let new = verified.new_roots.len();
    rows.push(Row::new(
        "root statement",
        if new > 0 {
            format!(
                "{number}, with {} new",
                words::count(new as u64, "statement")
            )
        } else {
            number.to_string()
        },
    ));
    rows
}

fn facts(plan: &Plan) -> Vec<Row> {
    let manifest = &plan.verified.manifest;
    let size: u64 = manifest.volumes.iter().map(|v| v.size).sum();
    let time = match plan.seconds {
        Some(seconds) => format!("about {}", words::age(seconds.max(1))),
        None => "not known before the first import of some size".to_owned(),
    };
    let mut rows = vec![
        Row::new("content", words::plain(&manifest.content)),
        Row::new("locked on", manifest.created.clone()),
        Row::new("valid until", manifest.not_after.clone()),
        Row::new("for", manifest.arch.join(", ")),
        Row::new("items", manifest.items.len().to_string()),
        Row::new(
            "on the medium",
            format!(
                "{} in {}",
                words::size(size),
                words::count(manifest.volumes.len() as u64, "volume")
            ),
        ),
        Row::new(
            "to be read",
            format!(
                "{} in {}",
                words::size(plan.missing_bytes),
                words::count(plan.missing_blobs, "blob")
            ),
        ),
        Row::new(
            "unpacked",
            format!("{} more", words::size(plan.unpack_bytes)),
        ),
        Row::new("free here", words::size(plan.free_bytes)),
        Row::new("time", time),
    ];
    if manifest.base.is_some() {
        rows.push(Row::new("kind", "delta: builds on what is here"));
    }
    rows
}

/// Whether the medium still holds what was looked at.
pub(super) fn same(place: &std::path::Path, manifest: &str) -> Result<(), Fault> {
    let looked: Option<Digest> = manifest.parse().ok();
    let sealed = bundle::Sealed::open(place).map_err(bundles::BundleError::from)?;
    if looked == Some(sealed.digest()) {
        return Ok(());
    }
    Err(
        Fault::conflict("the medium holds another bundle than the one that was looked at")
            .todo(sentence("look at it again before it is imported"))
            .code("E_CHANGED"),
    )
}
