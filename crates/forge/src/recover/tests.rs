//! Open pushes in each state a crash can leave.

use std::collections::HashMap;

use store::Db;
use vocab::PushId;

use super::*;
use crate::repo::tests::{Bed, Error, dev};
use crate::{RefKind, RefStatus, begin_push, by_id, push, pushes, record_refused_push};

fn oid(n: u8) -> Oid {
    format!("{n:02x}").repeat(20).parse().unwrap()
}

fn update(name: &str, old: Option<u8>, new: Option<u8>) -> RefUpdate {
    RefUpdate {
        name: format!("refs/heads/{name}"),
        old: old.map(oid),
        new: new.map(oid),
        forced: false,
    }
}

fn begin(bed: &Bed, repo: RepoId, refs: &[RefUpdate]) -> PushId {
    bed.write(|tx| Ok(begin_push(tx, &bed.log, &dev(), repo, refs)?))
}

/// Settles all open pushes of a repo whose refs stand as told.
fn restart(bed: &Bed, refs: &[(&str, u8)]) -> Vec<Settled> {
    let refs: HashMap<String, Oid> = refs
        .iter()
        .map(|(name, at)| (format!("refs/heads/{name}"), oid(*at)))
        .collect();
    let mut look = |_: RepoId, name: &str| Ok(refs.get(name).cloned());
    bed.read(|db: &Db| open_intents(db))
        .into_iter()
        .map(|intent| bed.write(|tx| Ok(recover(tx, &bed.log, intent, &mut look)?)))
        .collect()
}

fn states(settled: &[Settled]) -> Vec<PushState> {
    settled.iter().map(|s| s.state).collect()
}

#[test]
fn a_push_goes_from_intent_to_done_and_touches_its_repo() {
    let bed = Bed::new();
    let repo = bed.create("lab/x");
    let refs = [update("main", None, Some(1)), update("old", Some(2), None)];
    let id = begin(&bed, repo.id, &refs);
    let open = bed.read(|db| push(db, id)).unwrap();
    assert_eq!(open.state, PushState::Intent);
    assert_eq!(open.refs[0].kind, RefKind::Create);
    assert_eq!(open.refs[1].kind, RefKind::Delete);
    assert!(open.refs.iter().all(|r| r.status == RefStatus::Pending));
    assert_eq!(bed.read(|db| by_id(db, repo.id)).unwrap().pushed, None);
    bed.clock.advance(std::time::Duration::from_secs(5));
    let state = bed.write(|tx| Ok(complete_push(tx, &bed.log, &dev(), id, &[])?));
    assert_eq!(state, PushState::Done);
    let repo = bed.read(|db| by_id(db, repo.id)).unwrap();
    assert_eq!(repo.pushed, Some(bed.clock.now()));
    let listed = bed.read(|db| pushes(db, repo.id, None, 10));
    assert_eq!(listed.len(), 1);
    assert!(listed[0].refs.iter().all(|r| r.status == RefStatus::Moved));
    assert_eq!(bed.kinds(), ["repo.create", "git.push", "git.ref_delete"]);
    let twice = bed
        .store
        .write::<_, Error>(|tx| Ok(complete_push(tx, &bed.log, &dev(), id, &[])?));
    assert!(matches!(twice, Err(Error::Push(PushError::NotOpen { .. }))));
}

#[test]
fn a_forced_or_refused_push_has_its_own_entry() {
    let bed = Bed::new();
    let repo = bed.create("lab/x");
    let forced = RefUpdate {
        forced: true,
        ..update("main", Some(1), Some(2))
    };
    let id = begin(&bed, repo.id, &[forced.clone(), update("b", None, Some(3))]);
    let refused = [(forced.name.clone(), "it moved meanwhile".to_owned())];
    bed.write(|tx| Ok(complete_push(tx, &bed.log, &dev(), id, &refused)?));
    let ended = bed.read(|db| push(db, id)).unwrap();
    assert_eq!(ended.state, PushState::Done);
    assert_eq!(ended.refs[0].kind, RefKind::Force);
    assert_eq!(
        ended.refs[0].status,
        RefStatus::Refused("it moved meanwhile".into())
    );
    bed.write(|tx| {
        let why = "E_NOT_FAST_FORWARD";
        Ok(record_refused_push(
            tx,
            &bed.log,
            &dev(),
            &repo,
            &[forced],
            why,
        )?)
    });
    assert_eq!(
        bed.kinds()[1..],
        [
            "git.push",
            "git.force_push",
            "git.push_rejected",
            "git.push_rejected"
        ]
    );
}

#[test]
fn a_crash_before_any_ref_moved_withdraws_the_push() {
    let bed = Bed::new();
    let repo = bed.create("lab/x");
    let refs = [update("main", Some(1), Some(2)), update("b", None, Some(3))];
    let id = begin(&bed, repo.id, &refs);
    let settled = restart(&bed, &[("main", 1)]);
    assert_eq!(states(&settled), [PushState::Withdrawn]);
    assert_eq!(settled[0].refused.len(), 2);
    assert_eq!(bed.read(|db| pushes(db, repo.id, None, 10)), []);
    assert_eq!(
        bed.read(|db| push(db, id)).unwrap().state,
        PushState::Withdrawn
    );
    assert_eq!(bed.kinds()[1..], ["git.push", "git.push_rejected"]);
    assert!(restart(&bed, &[("main", 1)]).is_empty(), "settled for good");
}

#[test]
fn a_crash_after_all_refs_moved_completes_the_push() {
    let bed = Bed::new();
    let repo = bed.create("lab/x");
    let refs = [
        update("main", Some(1), Some(2)),
        update("gone", Some(7), None),
        update("new", None, Some(3)),
    ];
    begin(&bed, repo.id, &refs);
    let settled = restart(&bed, &[("main", 2), ("new", 3)]);
    assert_eq!(states(&settled), [PushState::Done]);
    assert_eq!(settled[0].moved, refs);
    assert!(settled[0].refused.is_empty());
    assert_eq!(bed.kinds()[1..], ["git.push", "git.ref_delete"]);
}

#[test]
fn a_crash_between_two_refs_settles_each_by_where_it_stands() {
    let bed = Bed::new();
    let repo = bed.create("lab/x");
    let refs = [update("a", Some(1), Some(2)), update("b", Some(1), Some(2))];
    let id = begin(&bed, repo.id, &refs);
    let settled = restart(&bed, &[("a", 2), ("b", 1)]);
    assert_eq!(states(&settled), [PushState::Done]);
    assert_eq!(settled[0].moved, refs[..1]);
    let ended = bed.read(|db| push(db, id)).unwrap();
    assert_eq!(ended.refs[0].status, RefStatus::Moved);
    assert!(matches!(ended.refs[1].status, RefStatus::Refused(_)));
}

#[test]
fn a_ref_that_later_pushes_moved_on_counts_as_moved() {
    let bed = Bed::new();
    let repo = bed.create("lab/x");
    let first = begin(&bed, repo.id, &[update("main", Some(1), Some(2))]);
    let second = begin(&bed, repo.id, &[update("main", Some(2), Some(1))]);
    let third = begin(&bed, repo.id, &[update("main", Some(1), Some(3))]);
    let settled = restart(&bed, &[("main", 1)]);
    let ids: Vec<PushId> = settled.iter().map(|s| s.push.id).collect();
    assert_eq!(ids, [third, second, first]);
    assert_eq!(
        states(&settled),
        [PushState::Withdrawn, PushState::Done, PushState::Done]
    );
}

#[test]
fn a_ref_that_stands_elsewhere_is_told_as_it_is() {
    let bed = Bed::new();
    let repo = bed.create("lab/x");
    begin(&bed, repo.id, &[update("main", Some(1), Some(2))]);
    let settled = restart(&bed, &[("main", 9)]);
    assert_eq!(states(&settled), [PushState::Withdrawn]);
    assert!(settled[0].refused[0].1.contains("neither"));
}

#[test]
fn refs_that_cannot_be_read_leave_the_push_open() {
    let bed = Bed::new();
    let repo = bed.create("lab/x");
    begin(&bed, repo.id, &[update("main", Some(1), Some(2))]);
    let intent = bed.read(open_intents).remove(0);
    let failed = bed.store.write::<_, Error>(|tx| {
        let mut look = |_: RepoId, _: &str| Err("input/output error".into());
        Ok(recover(tx, &bed.log, intent, &mut look)?)
    });
    assert!(matches!(
        failed,
        Err(Error::Recover(RecoverError::Look { .. }))
    ));
    assert_eq!(bed.read(open_intents).len(), 1);
}

#[test]
fn pushes_of_nothing_or_to_nowhere_are_refused() {
    let bed = Bed::new();
    let repo = bed.create("lab/x");
    let begin = |repo, refs: &[RefUpdate]| {
        bed.store
            .write::<_, Error>(|tx| Ok(begin_push(tx, &bed.log, &dev(), repo, refs)?))
    };
    assert!(matches!(
        begin(repo.id, &[]),
        Err(Error::Push(PushError::Empty))
    ));
    assert!(matches!(
        begin(RepoId(99), &[update("main", None, Some(1))]),
        Err(Error::Push(PushError::UnknownRepo { .. }))
    ));
}

#[test]
fn a_push_of_many_refs_has_a_short_entry() {
    let bed = Bed::new();
    let repo = bed.create("lab/x");
    let refs: Vec<RefUpdate> = (0..3_000)
        .map(|n| update(&format!("branch-{n}"), None, Some(1)))
        .collect();
    let id = begin(&bed, repo.id, &refs);
    let push = bed.read(|db| push(db, id)).unwrap();
    assert_eq!(push.refs.len(), 3_000);
    let line = bed.read(|db| audit::line(db, push.entry)).unwrap();
    assert!(line.text.len() < 20_000);
    assert!(line.text.contains("\"refs_total\":3000"));
}
