//! What a log that takes no entries refuses, lets through, and tells afterwards.

use std::time::Duration;

use store::StoreError;
use vocab::{Clock, Entropy, RepoId, UserId, from_unix_ms};

use super::*;
use crate::testing::{Bed, Error, START_MS, bed};
use crate::{AppendError, Auditor, Origin, Via};

fn dev() -> Who {
    let actor = Actor::User {
        id: UserId(17),
        name: "dev".parse().unwrap(),
    };
    Who::new(actor, Via::Http)
}

fn refused(result: Result<crate::Seq, Error>) -> Option<Blocked> {
    match result {
        Err(Error::Append(AppendError::Blocked(blocked))) => Some(blocked),
        _ => None,
    }
}

fn create(bed: &Bed) -> Result<crate::Seq, Error> {
    let entry = Entry::success(Kind::RepoCreate).object("repo", RepoId(5).tagged(), "lab/app");
    bed.try_one(&dev(), entry)
}

/// The same log, opened by a new process.
fn again(bed: &mut Bed) {
    let origin = Origin {
        host: "lab-0001".into(),
        boot: "b0".into(),
    };
    bed.clock = Clock::scripted(from_unix_ms(START_MS) + Duration::from_secs(3600));
    bed.log = Auditor::new(bed.clock.clone(), Entropy::scripted(9), origin);
    bed.log.recall(&bed.store).unwrap();
}

#[test]
fn changes_are_refused_what_has_begun_goes_on_and_both_are_told() {
    let bed = bed(2);
    assert_eq!(bed.log.state(), State::Open);
    let found = Some((Cause::Space, "3 MiB of 512 MiB are free"));
    assert!(bed.log.settle(&bed.store, found).unwrap());
    bed.clock.advance(Duration::from_secs(60));
    assert!(!bed.log.settle(&bed.store, found).unwrap(), "no news");

    let told = refused(create(&bed)).unwrap();
    assert_eq!(told.cause, Cause::Space);
    let words = told.to_string();
    for part in ["since 2026-", "3 MiB of 512 MiB", "bundle gc"] {
        assert!(words.contains(part), "{part}: {words}");
    }
    assert!(refused(bed.try_one(&dev(), Entry::success(Kind::GitPush))).is_some());
    let system = Who::system();
    assert!(refused(bed.try_one(&system, Entry::success(Kind::JobAssigned))).is_some());
    for kind in [Kind::JobCompleted, Kind::JobStepFailed, Kind::JobQueued] {
        bed.try_one(&system, Entry::success(kind)).unwrap();
    }
    for kind in [Kind::GitClone, Kind::LoginOk, Kind::RepoDelete, Kind::GcRun] {
        bed.try_one(&dev(), Entry::success(kind)).unwrap();
    }
    bed.try_one(&dev(), Entry::denied(Kind::RepoCreate, "E_ROLE"))
        .unwrap();
    let State::Blocked(state) = bed.log.state() else {
        panic!("it is open")
    };
    assert_eq!((state.refused, state.went_on), (3, 8));

    assert!(bed.log.settle(&bed.store, None).unwrap());
    assert_eq!(bed.log.state(), State::Open);
    create(&bed).unwrap();
    let begun = bed.told(Kind::AuditAppendBlocked);
    assert_eq!(begun.len(), 1);
    assert_eq!(begun[0]["d"]["what"], "3 MiB of 512 MiB are free");
    let ended = bed.told(Kind::AuditAppendResumed);
    assert_eq!(ended.len(), 1);
    let told = &ended[0]["d"];
    assert_eq!(
        (told["refused"].as_i64(), told["went_on"].as_i64()),
        (Some(3), Some(8))
    );
    assert_eq!(told["refused_kinds"]["repo.create"], 1);
    assert_eq!(told["went_on_kinds"]["job.completed"], 1);
    assert_eq!(bed.rows_found(), Vec::<String>::new());
}

#[test]
fn a_block_outlives_the_process_that_began_it() {
    let mut bed = bed(2);
    again(&mut bed);
    assert_eq!(bed.log.state(), State::Open, "nothing was blocked");
    let found = Some((Cause::Unsealed, "cannot use audit/tile"));
    bed.log.settle(&bed.store, found).unwrap();
    assert!(refused(create(&bed)).is_some());
    again(&mut bed);
    let told = refused(create(&bed)).unwrap();
    assert!(told.what.contains("audit/tile"), "{told}");
    assert_eq!(told.since_ms, START_MS + 3_600_000);
    bed.log.settle(&bed.store, None).unwrap();
    create(&bed).unwrap();
    let ended = bed.told(Kind::AuditAppendResumed);
    assert_eq!(ended[0]["d"]["restarted"], true);
    again(&mut bed);
    assert_eq!(bed.log.state(), State::Open, "it has ended");
}

#[test]
fn an_end_that_cannot_be_written_down_is_none() {
    let bed = bed(2);
    bed.log.block(Cause::Space, "no space");
    bed.alter("ALTER TABLE audit_head RENAME TO away");
    assert!(bed.log.settle(&bed.store, None).is_err());
    assert!(matches!(bed.log.state(), State::Blocked(_)));
    bed.alter("ALTER TABLE away RENAME TO audit_head");
    assert!(bed.log.settle(&bed.store, None).unwrap());
    assert_eq!(bed.told(Kind::AuditAppendBlocked).len(), 1);
}

#[test]
fn a_log_that_was_tampered_with_takes_nothing_until_a_restart() {
    let bed = bed(2);
    bed.log.block(Cause::Space, "no space");
    bed.log.refuse("entry 1 is gone");
    bed.log.block(Cause::Space, "no space");
    assert!(!bed.log.settle(&bed.store, None).unwrap());
    let told = refused(bed.try_one(&Who::system(), Entry::success(Kind::JobCompleted))).unwrap();
    assert_eq!(told.cause, Cause::Tampered);
    assert_eq!(bed.log.refusing().as_deref(), Some("entry 1 is gone"));
    assert!(refused(create(&bed)).is_some());
}

#[test]
fn a_refused_change_leaves_nothing_behind() {
    let bed = bed(2);
    bed.log.block(Cause::Space, "no space");
    let acted = bed.store.write::<(), Error>(|tx| {
        tx.execute_batch("CREATE TABLE acted (x INT) STRICT")?;
        bed.log
            .append(tx, &dev(), Entry::success(Kind::RepoCreate))?;
        Ok(())
    });
    assert!(acted.is_err());
    let seen = bed
        .store
        .read::<_, StoreError>(|db| Ok(db.prepare("SELECT * FROM acted").is_ok()))
        .unwrap();
    assert!(!seen, "the action is undone");
}
