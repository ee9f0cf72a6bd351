//! A kill between any two steps of a push: the start after it finishes or withdraws.

use std::io::Cursor;
use std::process::{Command, Stdio};
use std::sync::Arc;

use access::Role;
use audit::Who;
use git::{ReceiveLimits, Received};
use vocab::{JobState, RunId, RunState, Visibility};

use super::{Site, Tree, WORKFLOW};
use crate::plan;
use crate::push::{self, Begun};

/// The request that git sends to push the tree's main branch.
fn request(tree: &Tree) -> Vec<u8> {
    let id = tree.git(&["rev-parse", "HEAD"]);
    let id = id.trim();
    let line = format!(
        "{} {id} refs/heads/main\0 report-status side-band-64k\n",
        "0".repeat(40)
    );
    let mut wire = format!("{:04x}{line}0000", line.len() + 4).into_bytes();
    let pack = Command::new("sh")
        .args([
            "-c",
            "git rev-list --objects HEAD | cut -d' ' -f1 | git pack-objects -q --stdout",
        ])
        .current_dir(tree.path())
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(pack.status.success());
    wire.extend(pack.stdout);
    wire
}

struct Stage {
    site: Site,
    repo: forge::Repo,
    received: Received,
    updates: Vec<git::RefUpdate>,
    begun: Begun,
}

/// A push up to its written intent.
fn begun() -> Stage {
    let site = Site::new();
    let dev = site.user("dev", Role::Member, None);
    let repo = site.repo("dev/app", &dev, Visibility::Private);
    let tree = Tree::new();
    tree.write(".github/workflows/ci.yml", WORKFLOW);
    tree.commit("first");
    let repository = site.app.repository(repo.id).unwrap();
    let mut input = Cursor::new(request(&tree));
    let limits = ReceiveLimits::default();
    let mut received = git::receive_pack(&repository, &mut input, &limits, &mut |_| {})
        .unwrap_or_else(|e| panic!("{e}"));
    let updates = received.accepted();
    assert_eq!(updates.len(), 1);
    let who = Who::system();
    let plan = plan::of_push(&site.app, &who, &repo, &received, &updates);
    assert_eq!(plan.runs.len(), 1, "{:?}", plan.warnings);
    received.make_durable().unwrap();
    let begun = push::begin(&site.app, &who, &repo, &received, &updates, &plan.runs).unwrap();
    Stage {
        site,
        repo,
        received,
        updates,
        begun,
    }
}

fn state(site: &Site, run: RunId) -> (RunState, Option<JobState>) {
    site.app
        .store
        .read(|db| {
            let row = queue::run(db, run)?.unwrap();
            let jobs = queue::jobs_of(db, run)?;
            Ok::<_, queue::QueueError>((row.state, jobs.first().map(|j| j.state)))
        })
        .unwrap()
}

#[test]
fn nobody_may_claim_a_job_before_its_push_is_complete() {
    let stage = begun();
    let run = stage.begun.run_ids()[0];
    assert_eq!(
        state(&stage.site, run),
        (RunState::Held, Some(JobState::Held))
    );
}

#[test]
fn killed_after_the_intent_the_push_is_withdrawn_and_its_run_dropped() {
    let Stage {
        site,
        repo,
        received,
        begun,
        ..
    } = begun();
    drop(received);
    let run = begun.run_ids()[0];
    let site = site.killed();
    let done = crate::recover(&site.app).unwrap();
    assert_eq!((done.completed.len(), done.withdrawn.len()), (0, 1));
    assert_eq!(
        state(&site, run),
        (RunState::Finished, Some(JobState::Finished))
    );
    let refs = site.app.repository(repo.id).unwrap().refs().unwrap();
    assert!(refs.all().is_empty());
    assert_eq!(
        crate::recover(&site.app).unwrap(),
        crate::Recovered::default()
    );
}

#[test]
fn killed_after_the_ref_moved_the_push_is_completed_and_its_run_released() {
    let Stage {
        site,
        repo,
        received,
        updates,
        begun,
    } = begun();
    let repository = Arc::clone(received.repository());
    let outcomes = git::update_refs(&repository, &updates, false);
    assert_eq!(outcomes, [git::RefOutcome::Done]);
    drop((received, repository));
    let run = begun.run_ids()[0];
    let site = site.killed();
    let done = crate::recover(&site.app).unwrap();
    assert_eq!((done.completed.len(), done.withdrawn.len()), (1, 0));
    assert_eq!(
        state(&site, run),
        (RunState::Waiting, Some(JobState::Queued))
    );
    let refs = site.app.repository(repo.id).unwrap().refs().unwrap();
    assert_eq!(refs.get("refs/heads/main"), updates[0].new);
    assert_eq!(
        crate::recover(&site.app).unwrap(),
        crate::Recovered::default()
    );
}

#[test]
fn killed_before_the_intent_nothing_of_the_push_is_left() {
    let site = Site::new();
    let dev = site.user("dev", Role::Member, None);
    let repo = site.repo("dev/app", &dev, Visibility::Private);
    let tree = Tree::new();
    tree.commit("first");
    let repository = site.app.repository(repo.id).unwrap();
    let mut input = Cursor::new(request(&tree));
    let received = git::receive_pack(
        &repository,
        &mut input,
        &ReceiveLimits::default(),
        &mut |_| {},
    )
    .unwrap_or_else(|e| panic!("{e}"));
    // A kill runs no destructor: the quarantine stays on the disk.
    std::mem::forget(received);
    drop(repository);
    let site = site.killed();
    assert_eq!(
        crate::recover(&site.app).unwrap(),
        crate::Recovered::default()
    );
    let dir = forge::repo_dir(site.app.store.dir(), repo.id);
    assert!(
        !git::sweep(&dir).unwrap().is_empty(),
        "the quarantine was left for the sweep"
    );
    assert!(
        site.app
            .repository(repo.id)
            .unwrap()
            .refs()
            .unwrap()
            .all()
            .is_empty()
    );
}
