//! What no ref reaches goes, after its time and never before; what any ref reaches stays.

use std::time::{Duration, SystemTime};

use git::Repository;

use crate::support::{Result, Site, Work, filled, git};

const DAY: Duration = Duration::from_secs(86_400);

fn today() -> SystemTime {
    SystemTime::UNIX_EPOCH + 20_000 * DAY
}

/// A site with a branch that was taken back: the commits that stay and the one that went.
fn taken_back() -> Result<(Site, Work, String, String)> {
    let (site, work) = filled()?;
    let kept = work.git(&["rev-parse", "main"])?;
    let gone = work.commit("wrong", "by mistake\n")?;
    work.git(&["push", "-q", "origin", "main"])?;
    work.git(&["reset", "-q", "--hard", &kept])?;
    work.git(&["push", "-q", "-f", "origin", "main"])?;
    Ok((site, work, kept, gone))
}

fn has(site: &Site, id: &str) -> bool {
    git(&site.bare(), &["cat-file", "-e", id]).is_ok()
}

#[test]
fn what_was_taken_back_goes_after_the_grace() -> Result {
    let (site, _work, kept, gone) = taken_back()?;
    let repo = site.repo()?;
    let now = today();
    let first = repo.gc(14 * DAY, now)?;
    assert_eq!((first.set_aside, first.removed), (3, 0), "{first:?}");
    assert!(has(&site, &gone));
    site.check()?;
    // Its time is not over yet, and nothing else is left to do.
    let second = repo.gc(14 * DAY, now + 13 * DAY)?;
    assert_eq!((second.set_aside, second.removed), (0, 0), "{second:?}");
    assert_eq!(second.packs_after, first.packs_after);
    assert!(has(&site, &gone));
    assert!(!repo.gc_is_due(14 * DAY, now + 13 * DAY)?);
    assert!(repo.gc_is_due(14 * DAY, now + 15 * DAY)?);
    let third = repo.gc(14 * DAY, now + 15 * DAY)?;
    assert_eq!(third.removed, 3, "{third:?}");
    assert!(!has(&site, &gone));
    assert!(has(&site, &kept));
    site.check()?;
    site.clone_to("c", &[])?
        .git(&["fsck", "--strict", "--full"])?;
    Ok(())
}

#[test]
fn what_is_wanted_again_in_time_stays_for_good() -> Result {
    let (site, work, _, gone) = taken_back()?;
    let repo = site.repo()?;
    let now = today();
    repo.gc(14 * DAY, now)?;
    // The objects are here already: the push brings none.
    work.git(&["push", "-q", "origin", &format!("{gone}:refs/heads/again")])?;
    let done = repo.gc(14 * DAY, now + 15 * DAY)?;
    assert_eq!(done.set_aside, 0, "{done:?}");
    assert!(has(&site, &gone));
    site.check()?;
    // Also for a process that starts anew.
    drop(repo);
    let anew = Repository::open(&site.bare(), git::Durability::Full)?;
    anew.gc(14 * DAY, now + 30 * DAY)?;
    assert!(has(&site, &gone));
    site.check()
}

#[test]
fn what_pull_refs_reach_stays_and_does_not_slow_clones() -> Result {
    let (site, work) = filled()?;
    for n in 0..1100 {
        work.write(&format!("d{}/f{n}", n % 9), &format!("file {n}\n"))?;
    }
    work.commit("many", "1")?;
    work.git(&["push", "-q", "origin", "main"])?;
    work.git(&["checkout", "-q", "-b", "side"])?;
    let pulled = work.commit("proposed", "1\n")?;
    work.git(&["push", "-q", "origin", "side"])?;
    git(&site.bare(), &["update-ref", "refs/pull/1/head", &pulled])?;
    work.git(&["push", "-q", "origin", "--delete", "side"])?;
    let repo = site.repo()?;
    assert!(repo.gc_is_due(DAY, today())?);
    let done = repo.gc(Duration::ZERO, today())?;
    assert_eq!(done.set_aside, 0, "{done:?}");
    assert!(repo.prepare_clones()?);
    assert!(!repo.gc_is_due(DAY, today())?);
    assert!(has(&site, &pulled));
    let note = std::fs::read_to_string(site.bare().join("objects/info/closed-pack"))?;
    let head = git(&site.bare(), &["rev-parse", "main"])?;
    assert_eq!(note.lines().nth(1), Some(head.as_str()));
    site.check()
}

/// A push that was checked while its objects were still here must find them when its refs move.
#[test]
fn a_push_on_its_way_keeps_what_it_stands_on() -> Result {
    use crate::support::{packs::ZERO, pkt};
    let (site, _work, _, gone) = taken_back()?;
    let repo = site.repo()?;
    let now = today();
    repo.gc(DAY, now)?;
    let mut body = pkt(&format!("{ZERO} {gone} refs/heads/late\0report-status"));
    body.extend_from_slice(b"0000");
    body.extend(crate::support::packs::pack_of(&[])?);
    let limits = git::ReceiveLimits::default();
    let mut push = git::receive_pack(&repo, &mut body.as_slice(), &limits, &mut |_| {})?;
    let done = repo.gc(DAY, now + 3 * DAY)?;
    assert_eq!(done.removed, 0, "{done:?}");
    push.commit()?;
    drop(push);
    site.check()?;
    assert_eq!(site.server_ref("refs/heads/late")?, gone);
    // Control: with no push on its way and no ref, the same collection takes it.
    git(&site.bare(), &["update-ref", "-d", "refs/heads/late"])?;
    repo.gc(DAY, now + 3 * DAY)?;
    repo.gc(DAY, now + 6 * DAY)?;
    assert!(!has(&site, &gone));
    site.check()
}

#[test]
fn an_empty_and_a_damaged_repository_lose_nothing() -> Result {
    let site = Site::new()?;
    let done = site.repo()?.gc(Duration::ZERO, today())?;
    assert_eq!(done, git::Collected::default());
    let (site, work, _, gone) = taken_back()?;
    let lost = work.git(&["rev-parse", "main^{tree}"])?;
    git(&site.bare(), &["update-ref", "refs/heads/bad", &gone])?;
    std::fs::write(
        site.bare().join("refs/heads/bad"),
        format!("{}\n", "7".repeat(40)),
    )?;
    let repo = Repository::open(&site.bare(), git::Durability::Full)?;
    assert!(repo.gc(Duration::ZERO, today()).is_err());
    assert!(has(&site, &gone) && has(&site, &lost));
    Ok(())
}
