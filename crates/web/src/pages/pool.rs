//! The queue with its reasons; runners, images and isolation.

use std::collections::HashMap;

use access::Principal;
use axum::response::Response;
use forge::Repo;
use queue::{JobRow, RunRow};
use store::Db;
use supply::ImageRow;
use vocab::{RepoId, RunId};

use super::{frame, render};
use crate::facilities::SlotState;
use crate::fault::Fault;
use crate::guard::Ctx;
use crate::view::{ImageLine, Link, Queue, QueueLine, Row, Runners, SlotLine};
use crate::{push, states, words};

/// The most jobs that the queue's page shows.
const SHOWN: u32 = 200;

/// A job that runs or waits, and why.
pub(crate) struct QueueRow {
    pub(crate) job: JobRow,
    pub(crate) run: RunRow,
    pub(crate) repo: Repo,
    pub(crate) why: String,
}

/// What runs, then what waits in the order it will be handed out, as far as the reader may see.
pub(crate) async fn rows(ctx: &Ctx) -> Result<Vec<QueueRow>, Fault> {
    let app = ctx.app.clone();
    let principal = ctx.principal.clone();
    ctx.app
        .off(move || {
            let capacity = app.facilities.capacity();
            app.store.read(|db| {
                let mut found: Vec<(JobRow, String)> = Vec::new();
                for job in queue::running(db)? {
                    let on = job.runner.clone().unwrap_or_else(|| "a runner".to_owned());
                    found.push((job, format!("on {on}")));
                }
                for (job, reason) in queue::waiting(db, SHOWN, &capacity)? {
                    found.push((job, reason.to_string()));
                }
                let mut known = Known::default();
                let mut rows = Vec::new();
                for (job, why) in found {
                    let repo = known.repo(db, &principal, job.repo)?;
                    let run = known.run(db, job.run)?;
                    if let (Some(repo), Some(run)) = (repo, run) {
                        rows.push(QueueRow {
                            job,
                            run,
                            repo,
                            why,
                        });
                    }
                }
                Ok(rows)
            })
        })
        .await
}

/// Repos and runs looked up once each.
#[derive(Default)]
pub(super) struct Known {
    repos: HashMap<RepoId, Option<Repo>>,
    runs: HashMap<RunId, Option<RunRow>>,
}

impl Known {
    /// The job's page, if its runs may be seen.
    pub(super) fn job(
        &mut self,
        db: &Db,
        reader: &Principal,
        id: vocab::JobId,
    ) -> Result<Option<Link>, Fault> {
        let Some(job) = queue::job(db, id).map_err(Fault::internal)? else {
            return Ok(None);
        };
        let repo = self.repo(db, reader, job.repo)?;
        let run = self.run(db, job.run)?;
        Ok(repo.zip(run).map(|(repo, run)| {
            let page = push::run_path(&repo, run.number.get());
            let name = format!("{} #{} · {}", repo.path, run.number.get(), job.name);
            Link::new(name, format!("{page}/jobs/{id}"))
        }))
    }

    /// The repo, if its runs may be seen.
    pub(super) fn repo(
        &mut self,
        db: &Db,
        reader: &Principal,
        id: RepoId,
    ) -> Result<Option<Repo>, Fault> {
        if let Some(known) = self.repos.get(&id) {
            return Ok(known.clone());
        }
        let found = forge::by_id(db, id).map_err(Fault::internal)?;
        let seen = found.filter(|repo| {
            let on = access::Resource::Repo(crate::guard::facts(repo));
            access::authorize(db, reader, access::Action::RunRead, &on).is_ok()
        });
        self.repos.insert(id, seen.clone());
        Ok(seen)
    }

    fn run(&mut self, db: &Db, id: RunId) -> Result<Option<RunRow>, Fault> {
        if let Some(known) = self.runs.get(&id) {
            return Ok(known.clone());
        }
        let found = queue::run(db, id)?;
        self.runs.insert(id, found.clone());
        Ok(found)
    }
}

/// Every slot, its job only where the reader may see that job's repo.
pub(crate) fn slots_for(app: &crate::state::App, rows: &[QueueRow]) -> Vec<crate::Slot> {
    let mut slots = app.facilities.slots();
    for slot in &mut slots {
        let seen = slot
            .job
            .is_some_and(|id| rows.iter().any(|row| row.job.id == id));
        if slot.state == SlotState::Busy && !seen {
            slot.job = None;
            slot.note = "a job of a repo that you may not see".to_owned();
        }
    }
    slots
}

/// `GET /queue`
pub(crate) async fn queue(ctx: Ctx) -> Result<Response, Fault> {
    let frame = frame(&ctx, "Queue", "Queue").await?;
    let found = rows(&ctx).await?;
    let counts = ctx.app.read(|db| Ok(queue::counts(db)?)).await?;
    let now = ctx.app.clock.now();
    let hidden = usize::try_from(
        counts.held + counts.blocked + counts.queued + counts.leased + counts.running,
    )
    .unwrap_or(usize::MAX)
    .saturating_sub(found.len());
    let rows = found
        .iter()
        .map(|row| QueueLine {
            href: format!(
                "{}/jobs/{}",
                push::run_path(&row.repo, row.run.number.get()),
                row.job.id
            ),
            state: states::job(row.job.state, row.job.outcome),
            job: row.job.name.clone(),
            repo: row.repo.path.to_string(),
            number: row.run.number.get(),
            workflow: row.run.workflow_name.clone(),
            why: crate::respond::sentence(&row.why),
            labels: row.job.labels.clone(),
            since: words::when(
                row.job
                    .started_ms
                    .or(row.job.queued_ms)
                    .unwrap_or(row.job.created_ms),
                now,
            ),
        })
        .collect();
    let facts = [
        ("running", counts.running + counts.leased),
        ("queued", counts.queued),
        ("blocked by other jobs", counts.blocked),
    ];
    render(&Queue {
        frame,
        facts: facts
            .into_iter()
            .map(|(name, n)| Row::new(name, n.to_string()))
            .collect(),
        rows,
        note: (hidden > 0).then(|| {
            format!(
                "{} more: of repos that you may not see, or further back.",
                words::count(hidden as u64, "job")
            )
        }),
    })
}

/// `GET /runners`
pub(crate) async fn runners(ctx: Ctx) -> Result<Response, Fault> {
    let frame = frame(&ctx, "Runners", "Runners").await?;
    let app = ctx.app.clone();
    let jobs = rows(&ctx).await?;
    ctx.app
        .off(move || {
            let slots = slots_for(&app, &jobs);
            let capacity = app.facilities.capacity();
            let labels = &app.config.labels;
            let images = app.store.read(supply::images)?;
            let first = app.store.read(supply::default_image)?.map(|image| image.id);
            let count = |state| slots.iter().filter(|s| s.state == state).count();
            let mut facts = vec![
                Row::new("slots", slots.len().to_string()),
                Row::new("busy", count(SlotState::Busy).to_string()),
            ];
            for paused in capacity.iter().filter_map(|c| c.paused.as_ref()) {
                facts.push(Row::new("paused:", paused.clone()));
            }
            let now = app.clock.now();
            let lines = images
                .iter()
                .map(|image| ImageLine {
                    name: image.names.join(", "),
                    digest: image.digest.to_string(),
                    labels: served(image, first == Some(image.id), labels),
                    size: words::size(image.size_bytes),
                    at: words::when(image.imported_ms, now),
                })
                .collect();
            render(&Runners {
                frame,
                facts,
                slots: slots
                    .iter()
                    .map(|slot| SlotLine {
                        name: slot.name.clone(),
                        state: states::slot(slot.state),
                        job: slot
                            .job
                            .and_then(|id| jobs.iter().find(|row| row.job.id == id))
                            .map(|row| {
                                let page = push::run_path(&row.repo, row.run.number.get());
                                Link::new(
                                    format!("{} · {}", row.repo.path, row.job.name),
                                    format!("{page}/jobs/{}", row.job.id),
                                )
                            }),
                        note: slot.note.clone(),
                    })
                    .collect(),
                images: lines,
                isolation: app
                    .facilities
                    .isolation()
                    .into_iter()
                    .map(|fact| Row {
                        name: fact.name,
                        text: fact.value,
                        source: None,
                        class: match fact.good {
                            Some(true) => "yes",
                            Some(false) => "no",
                            None => "",
                        },
                    })
                    .collect(),
            })
        })
        .await
}

/// The labels that mean this image.
fn served(
    image: &ImageRow,
    is_default: bool,
    mapping: &std::collections::BTreeMap<String, String>,
) -> Vec<String> {
    let digest = image.digest.to_string();
    let mut labels = image.names.clone();
    labels.extend(
        mapping
            .iter()
            .filter(|(_, to)| image.names.contains(to) || **to == digest)
            .map(|(label, _)| label.clone()),
    );
    if is_default {
        let common = supply::COMMON_LABELS
            .iter()
            .filter(|l| !mapping.contains_key(**l));
        labels.extend(common.map(|l| (*l).to_owned()));
    }
    labels
}
