//! Many pushes and readers at once, and one after the other.

use gix::ObjectId;
use gix::objs::Kind;

use crate::support::packs::{ZERO, commit_of, hash, pack_of, push, small};
use crate::support::{self, Result, Site, git, pkt};

#[test]
fn of_many_pushes_to_one_ref_exactly_one_wins() -> Result {
    let site = Site::new()?;
    let work = site.work("w")?;
    let mut base = work.commit("a", "0")?;
    work.git(&["push", "-q", "origin", "main"])?;
    for round in 0..3 {
        let mut pushes = Vec::new();
        for n in 0..24 {
            let tree = work.git(&["rev-parse", "HEAD^{tree}"])?;
            let words = format!("round {round} push {n}");
            pushes.push(work.git(&["commit-tree", "-p", &base, "-m", &words, &tree])?);
        }
        let said: Vec<Result<String>> = std::thread::scope(|scope| {
            let running: Vec<_> = pushes
                .iter()
                .map(|tip| {
                    let (site, base, work) = (&site, &base, &work);
                    scope.spawn(move || -> Result<String> {
                        let wanted = format!("{tip}\n^{base}\n");
                        let args = ["pack-objects", "--stdout", "--revs", "-q", "--thin"];
                        let pack = support::git_with_input(&work.0, &args, wanted.as_bytes())?;
                        push(site, &[(base, tip, "refs/heads/main")], &pack)
                    })
                })
                .collect();
            running
                .into_iter()
                .map(|t| t.join().map_err(|_| "panicked")?)
                .collect()
        });
        let said: Vec<String> = said.into_iter().collect::<Result<_>>()?;
        let winners: Vec<usize> = (0..24)
            .filter(|n| said[*n].contains("ok refs/heads/main"))
            .collect();
        assert_eq!(winners.len(), 1, "{said:#?}");
        base = pushes[winners[0]].clone();
        assert_eq!(site.server_ref("refs/heads/main")?, base);
    }
    site.check()
}

#[test]
fn many_pushes_to_many_refs_all_win() -> Result {
    let site = Site::new()?;
    let work = site.work("w")?;
    work.commit("a", "0")?;
    work.git(&["push", "-q", "origin", "main"])?;
    let done: Vec<Result> = std::thread::scope(|scope| {
        let running: Vec<_> = (0..24)
            .map(|n| {
                let site = &site;
                scope.spawn(move || -> Result {
                    let clone = site.clone_to(&format!("c{n}"), &[])?;
                    for round in 0..3 {
                        clone.commit(&format!("f{n}"), &round.to_string())?;
                        clone.git(&["push", "-q", "origin", &format!("HEAD:refs/heads/b/{n}")])?;
                    }
                    Ok(())
                })
            })
            .collect();
        running
            .into_iter()
            .map(|t| t.join().map_err(|_| "panicked")?)
            .collect()
    });
    done.into_iter().collect::<Result<Vec<()>>>()?;
    let refs = git(
        &site.bare(),
        &["for-each-ref", "--format=%(refname)", "refs/heads/b/"],
    )?;
    assert_eq!(refs.lines().count(), 24);
    let clone = site.clone_to("all", &[])?;
    clone.git(&["fsck", "--strict", "--full"])?;
    site.check()
}

#[test]
fn a_push_is_readable_before_it_is_visible_and_leaves_nothing_when_dropped() -> Result {
    let site = Site::new()?;
    let repo = site.repo()?;
    let s = small()?;
    let mut body = pkt(&format!("{ZERO} {} refs/heads/main\0report-status", s.tip));
    body.extend_from_slice(b"0000");
    body.extend(s.pack()?);
    let limits = git::ReceiveLimits::default();
    let receive = || git::receive_pack(&repo, &mut body.as_slice(), &limits, &mut |_| {});
    let received = receive()?;
    assert_eq!(
        received.objects().file(s.tip, "file", 100)?.as_deref(),
        Some(s.blob)
    );
    assert_eq!(received.commands[0].kind, git::CommandKind::Create);
    assert!(!repo.objects().contains(&s.tip));
    drop(received);
    site.check()?;
    assert!(git(&site.bare(), &["count-objects", "-v"])?.contains("packs: 0"));
    let mut received = receive()?;
    received.refuse("refs/heads/main", "not today");
    assert!(received.accepted().is_empty());
    let mut out = Vec::new();
    received.write_report(&mut out, &[])?;
    assert!(String::from_utf8_lossy(&out).contains("ng refs/heads/main not today"));
    drop(received);
    let mut received = receive()?;
    let updates = received.accepted();
    received.make_durable()?;
    assert!(repo.objects().contains(&s.tip));
    assert!(repo.refs()?.all().is_empty());
    let outcomes = git::update_refs(&repo, &updates, false);
    assert_eq!(outcomes, [git::RefOutcome::Done]);
    assert_eq!(repo.refs()?.get("refs/heads/main"), Some(s.tip));
    drop(received);
    site.check()
}

#[test]
fn a_repository_takes_more_pushes_than_it_can_hold_packs() -> Result {
    let site = Site::new()?;
    // Thousands of fsyncs would only slow this down.
    let unsynced = git::Repository::open(&site.bare(), git::Durability::SkipForTest)?;
    let repo = std::sync::Arc::new(unsynced);
    // A reader that never goes away pins what it may have seen.
    let reader = repo.objects();
    let s = small()?;
    let tree = hash(Kind::Tree, &s.tree)?;
    let limits = git::ReceiveLimits::default();
    let mut old: Option<ObjectId> = None;
    for n in 0..1200 {
        let commit = commit_of(tree, old.as_slice());
        let new = hash(Kind::Commit, &commit)?;
        let pack = if n == 0 {
            pack_of(&[
                (Kind::Commit, &commit),
                (Kind::Tree, &s.tree),
                (Kind::Blob, s.blob),
            ])?
        } else {
            pack_of(&[(Kind::Commit, &commit)])?
        };
        let before = old.map_or(ZERO.to_owned(), |id| id.to_string());
        let mut body = pkt(&format!("{before} {new} refs/heads/main\0report-status"));
        body.extend_from_slice(b"0000");
        body.extend(pack);
        let mut received = git::receive_pack(&repo, &mut body.as_slice(), &limits, &mut |_| {})?;
        let done = received.commit()?;
        assert_eq!(done[0].1, git::RefOutcome::Done, "push {n}");
        assert!(reader.contains(&new), "push {n}");
        old = Some(new);
    }
    assert!(repo.pack_count()? <= 96);
    let clone = site.clone_to("c", &[])?;
    assert_eq!(clone.git(&["rev-list", "--count", "HEAD"])?, "1200");
    site.check()
}

#[test]
fn readers_and_clones_go_on_while_packs_are_merged() -> Result {
    let site = Site::new()?;
    // Thousands of fsyncs would only slow this down.
    let unsynced = git::Repository::open(&site.bare(), git::Durability::SkipForTest)?;
    let repo = std::sync::Arc::new(unsynced);
    let s = small()?;
    let tree = hash(Kind::Tree, &s.tree)?;
    let stop = std::sync::atomic::AtomicBool::new(false);
    let clone = |want: ObjectId| -> Result<usize> {
        let mut body = pkt("command=fetch");
        body.extend_from_slice(b"0001");
        body.extend(pkt(&format!("want {want}")));
        body.extend(pkt("done"));
        body.extend_from_slice(b"0000");
        let mut out = Vec::new();
        let limits = git::UploadLimits::default();
        git::upload_pack(
            &repo,
            git::Protocol::V2,
            &mut body.as_slice(),
            &mut out,
            &limits,
        )?;
        Ok(out.len())
    };
    let done: Vec<Result> = std::thread::scope(|scope| {
        let readers: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| -> Result {
                    let kept = repo.objects();
                    while !stop.load(std::sync::atomic::Ordering::SeqCst) {
                        if let Some(tip) = repo.refs()?.get("refs/heads/main") {
                            kept.log(tip, Some("file"), 0, 10)?;
                            repo.objects().file(tip, "file", 100)?.ok_or("no file")?;
                            clone(tip)?;
                        }
                    }
                    Ok(())
                })
            })
            .collect();
        let writing = || -> Result {
            let limits = git::ReceiveLimits::default();
            let mut old: Option<ObjectId> = None;
            for n in 0..150 {
                let commit = commit_of(tree, old.as_slice());
                let new = hash(Kind::Commit, &commit)?;
                let pack = if n == 0 {
                    pack_of(&[
                        (Kind::Commit, &commit),
                        (Kind::Tree, &s.tree),
                        (Kind::Blob, s.blob),
                    ])?
                } else {
                    pack_of(&[(Kind::Commit, &commit)])?
                };
                let before = old.map_or(ZERO.to_owned(), |id| id.to_string());
                let mut body = pkt(&format!("{before} {new} refs/heads/main\0report-status"));
                body.extend_from_slice(b"0000");
                body.extend(pack);
                let mut received =
                    git::receive_pack(&repo, &mut body.as_slice(), &limits, &mut |_| {})?;
                received.commit()?;
                repo.consolidate(3)?;
                old = Some(new);
            }
            Ok(())
        };
        let wrote = writing();
        stop.store(true, std::sync::atomic::Ordering::SeqCst);
        let mut all = vec![wrote];
        for reader in readers {
            all.push(reader.join().unwrap_or_else(|_| Err("panicked".into())));
        }
        all
    });
    done.into_iter().collect::<Result<Vec<()>>>()?;
    site.check()
}
