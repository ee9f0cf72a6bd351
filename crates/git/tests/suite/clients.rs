//! Stock git clones, fetches and pushes, on protocol v2 and v0.

use crate::support::{self, Result, Site, VERSIONS, Work, filled};

#[test]
fn an_empty_repository_is_listed_and_cloned() -> Result {
    let site = Site::new()?;
    for version in VERSIONS {
        let work = site.work(&format!("w{version}"))?;
        assert_eq!(work.git_v(version, &["ls-remote", "origin"])?, "");
        let option = format!("protocol.version={version}");
        let clone = site.clone_to(&format!("c{version}"), &["-c", &option])?;
        if version == 2 {
            // v0 has no words for a branch that is not born.
            assert_eq!(clone.git(&["symbolic-ref", "HEAD"])?, "refs/heads/main");
        }
    }
    site.check()
}

#[test]
fn a_first_push_is_cloned_whole() -> Result {
    for version in VERSIONS {
        let (site, work) = filled()?;
        let listed = work.git_v(version, &["ls-remote", "--symref", "origin"])?;
        assert!(listed.contains("ref: refs/heads/main\tHEAD"), "{listed}");
        let option = format!("protocol.version={version}");
        let clone = site.clone_to("c", &["-c", &option])?;
        assert_eq!(
            clone.git(&["rev-parse", "HEAD"])?,
            work.git(&["rev-parse", "HEAD"])?
        );
        clone.git(&["fsck", "--strict", "--full"])?;
        assert_eq!(
            std::fs::read_to_string(clone.0.join("src/app.py"))?,
            "print(2)\n"
        );
        let mirror = site.clone_to("m", &["-c", &option, "--mirror"])?;
        mirror.git(&["fsck", "--strict", "--full"])?;
        site.check()?;
    }
    Ok(())
}

#[test]
fn the_push_shows_the_messages_of_the_server() -> Result {
    let (site, work) = filled()?;
    work.commit("a", "1")?;
    let out = support::run(&work.0, &["push", "origin", "main"])?;
    let shown = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(shown.contains("remote: run 1 started"), "{shown}");
    site.check()
}

#[test]
fn fetches_bring_what_is_new_among_many_refs() -> Result {
    for version in VERSIONS {
        let (site, work) = filled()?;
        let option = format!("protocol.version={version}");
        let clone = site.clone_to("c", &["-c", &option])?;
        for n in 0..300 {
            let tree = work.git(&["rev-parse", "HEAD^{tree}"])?;
            let commit = work.git(&["commit-tree", "-p", "HEAD", "-m", &format!("b{n}"), &tree])?;
            work.git(&["update-ref", &format!("refs/heads/b{n}"), &commit])?;
        }
        work.git(&["push", "-q", "origin", "--all"])?;
        clone.commit("own", "work of the clone's own\n")?;
        clone.git_v(version, &["fetch", "-q", "origin"])?;
        let count = clone.git(&["for-each-ref", "--format=x", "refs/remotes/origin/b*"])?;
        assert_eq!(count.lines().count(), 300);
        // A client with histories that the server has never seen still comes to an end.
        clone.git(&["checkout", "-q", "--orphan", "other"])?;
        for n in 0..40 {
            clone.git(&["commit", "-q", "--allow-empty", "-m", &format!("o{n}")])?;
        }
        let tip = work.commit("README.md", "hello again\n")?;
        work.git(&["push", "-q", "origin", "main"])?;
        clone.git_v(version, &["fetch", "-q", "origin"])?;
        assert_eq!(clone.git(&["rev-parse", "origin/main"])?, tip);
        clone.git(&["fsck", "--strict", "--full"])?;
        site.check()?;
    }
    Ok(())
}

#[test]
fn a_fetch_of_nothing_new_sends_nothing() -> Result {
    for version in VERSIONS {
        let (site, _) = filled()?;
        let option = format!("protocol.version={version}");
        let clone = site.clone_to("c", &["-c", &option])?;
        let before = clone.git(&["count-objects", "-v"])?;
        clone.git_v(version, &["fetch", "-q", "origin"])?;
        assert_eq!(clone.git(&["count-objects", "-v"])?, before);
    }
    Ok(())
}

#[test]
fn shallow_clones_deepen_and_become_whole() -> Result {
    for version in VERSIONS {
        let (site, work) = filled()?;
        for n in 0..10 {
            work.commit("src/n", &n.to_string())?;
        }
        work.git(&["push", "-q", "origin", "main"])?;
        let option = format!("protocol.version={version}");
        let clone = site.clone_to("c", &["-c", &option, "--depth", "1"])?;
        let count = |clone: &Work| clone.git(&["rev-list", "--count", "HEAD"]);
        assert_eq!(count(&clone)?, "1");
        clone.git_v(version, &["fetch", "-q", "--depth", "3"])?;
        assert_eq!(count(&clone)?, "3");
        clone.git_v(version, &["fetch", "-q", "--deepen", "2"])?;
        assert_eq!(count(&clone)?, "5");
        // New commits reach a shallow clone without its old ones.
        work.commit("src/n", "more")?;
        work.git(&["push", "-q", "origin", "main"])?;
        clone.git_v(version, &["pull", "-q", "--ff-only"])?;
        assert_eq!(count(&clone)?, "6");
        clone.git(&["fsck", "--strict", "--full"])?;
        clone.git_v(version, &["fetch", "-q", "--unshallow"])?;
        assert_eq!(count(&clone)?, "14");
        assert!(!clone.0.join(".git/shallow").exists());
        clone.git(&["fsck", "--strict", "--full"])?;
        // And from a shallow clone one can push.
        let shallow = site.clone_to("s", &["-c", &option, "--depth", "1"])?;
        let tip = shallow.commit("from", "shallow")?;
        shallow.git_v(version, &["push", "-q", "origin", "main"])?;
        assert_eq!(site.server_ref("refs/heads/main")?, tip);
        site.check()?;
    }
    Ok(())
}

#[test]
fn history_is_cut_by_date_and_by_ref() -> Result {
    let site = Site::new()?;
    let work = site.work("w")?;
    for year in [2001, 2002, 2003, 2004] {
        work.write("year", &year.to_string())?;
        work.git(&["add", "-A"])?;
        let date = format!("{year}-06-01T00:00:00Z");
        let out = support::command(&work.0)
            .env("GIT_COMMITTER_DATE", &date)
            .env("GIT_AUTHOR_DATE", &date)
            .args(["commit", "-q", "-m", &date])
            .status()?;
        assert!(out.success());
        work.git(&["tag", &format!("y{year}")])?;
    }
    work.git(&["push", "-q", "origin", "main", "--tags"])?;
    for version in VERSIONS {
        let option = format!("protocol.version={version}");
        let since = site.clone_to(
            &format!("since{version}"),
            &["-c", &option, "--no-tags", "--shallow-since=2003-01-01"],
        )?;
        assert_eq!(since.git(&["rev-list", "--count", "HEAD"])?, "2");
        let not = site.clone_to(
            &format!("not{version}"),
            &["-c", &option, "--no-tags", "--shallow-exclude=y2003"],
        )?;
        assert_eq!(not.git(&["rev-list", "--count", "HEAD"])?, "1");
        not.git(&["fsck", "--strict"])?;
    }
    Ok(())
}

#[test]
fn partial_clones_leave_blobs_and_trees_for_later() -> Result {
    let (site, work) = filled()?;
    work.commit("large", &"x".repeat(100_000))?;
    work.git(&["push", "-q", "origin", "main"])?;
    for (name, filter) in [("n", "blob:none"), ("l", "blob:limit=1k"), ("t", "tree:0")] {
        let option = format!("--filter={filter}");
        let clone = site.clone_to(name, &[&option, "--no-checkout"])?;
        let missing = clone.git(&["rev-list", "--objects", "--all", "--missing=print"])?;
        assert!(
            missing.lines().any(|l| l.starts_with('?')),
            "{filter}: {missing}"
        );
        clone.git(&["checkout", "-q", "main"])?;
        assert_eq!(
            std::fs::read_to_string(clone.0.join("large"))?.len(),
            100_000
        );
        assert_eq!(clone.git(&["status", "--porcelain"])?, "");
        clone.git(&["log", "-p", "--format=%h"])?;
    }
    site.check()
}

#[test]
fn branches_come_move_and_go() -> Result {
    let (site, work) = filled()?;
    work.git(&["checkout", "-q", "-b", "topic/one"])?;
    let one = work.commit("one", "1")?;
    work.git(&["push", "-q", "-u", "origin", "topic/one"])?;
    assert_eq!(site.server_ref("refs/heads/topic/one")?, one);
    // A client whose branch was rewritten must say so.
    work.git(&["commit", "-q", "--amend", "-m", "rewritten"])?;
    let said = work.fails(&["push", "origin", "topic/one"])?;
    assert!(said.contains("non-fast-forward"), "{said}");
    let wrong = format!("--force-with-lease=topic/one:{}", "1".repeat(40));
    let said = work.fails(&["push", &wrong, "origin", "topic/one"])?;
    assert!(said.contains("stale info"), "{said}");
    work.git(&[
        "push",
        "-q",
        &format!("--force-with-lease=topic/one:{one}"),
        "origin",
        "topic/one",
    ])?;
    let rewritten = work.git(&["rev-parse", "HEAD"])?;
    assert_eq!(site.server_ref("refs/heads/topic/one")?, rewritten);
    // Directories and branches cannot share a name.
    work.git(&["branch", "topic/one/deep"])
        .map_or(Ok(()), |_| Err("client let it be"))?;
    let said = work.fails(&["push", "origin", "HEAD:refs/heads/topic"])?;
    assert!(said.contains("in the way"), "{said}");
    work.git(&["push", "-q", "origin", "--delete", "topic/one"])?;
    assert!(site.server_ref("refs/heads/topic/one").is_err());
    work.git(&["push", "-q", "origin", "HEAD:refs/heads/topic"])?;
    site.check()
}

#[test]
fn the_default_branch_cannot_be_deleted_unless_allowed() -> Result {
    let (site, work) = filled()?;
    let said = work.fails(&["push", "origin", "--delete", "main"])?;
    assert!(said.contains("default branch cannot be deleted"), "{said}");
    site.limit(|l| l.deny_default_branch_deletion = false);
    work.git(&["push", "-q", "origin", "--delete", "main"])?;
    assert!(site.server_ref("refs/heads/main").is_err());
    site.check()
}

#[test]
fn a_policy_keeps_history_from_being_rewritten() -> Result {
    let (site, work) = filled()?;
    site.limit(|l| l.deny_non_fast_forward = true);
    let before = site.server_ref("refs/heads/main")?;
    work.git(&["commit", "-q", "--amend", "-m", "rewritten"])?;
    let said = work.fails(&["push", "--force", "origin", "main"])?;
    assert!(said.contains("non-fast-forward"), "{said}");
    assert_eq!(site.server_ref("refs/heads/main")?, before);
    site.check()
}

#[test]
fn tags_travel_with_what_they_name() -> Result {
    for version in VERSIONS {
        let (site, work) = filled()?;
        let option = format!("protocol.version={version}");
        let clone = site.clone_to("c", &["-c", &option])?;
        work.commit("v", "1")?;
        work.git(&["tag", "light"])?;
        work.git(&["tag", "-a", "-m", "one", "v1"])?;
        work.git(&["tag", "-a", "-m", "a tag of a tag", "v1-again", "v1"])?;
        work.git(&["push", "-q", "origin", "main", "--tags"])?;
        let listed = work.git_v(version, &["ls-remote", "--tags", "origin"])?;
        let commit = work.git(&["rev-parse", "HEAD"])?;
        for tag in ["v1", "v1-again"] {
            assert!(
                listed.contains(&format!("{commit}\trefs/tags/{tag}^{{}}")),
                "{listed}"
            );
        }
        clone.git_v(version, &["fetch", "-q", "origin"])?;
        assert_eq!(clone.git(&["tag"])?.lines().count(), 3);
        let tagged = site.clone_to("t", &["-c", &option, "--depth", "1", "--branch", "v1"])?;
        assert_eq!(tagged.git(&["rev-parse", "HEAD"])?, commit);
        work.git(&["tag", "-f", "light", "HEAD~1"])?;
        assert!(
            work.fails(&["push", "origin", "light"])?
                .contains("already exists")
        );
        work.git(&["push", "-q", "-f", "origin", "light"])?;
        work.git(&["push", "-q", "origin", "--delete", "v1"])?;
        assert!(site.server_ref("refs/tags/v1").is_err());
        site.check()?;
    }
    Ok(())
}

#[test]
fn an_atomic_push_is_all_or_nothing() -> Result {
    let (site, work) = filled()?;
    work.git(&[
        "push",
        "-q",
        "--atomic",
        "origin",
        "HEAD:refs/heads/a",
        "HEAD:refs/heads/b",
    ])?;
    work.commit("next", "1")?;
    // Stock clients check what they can themselves; this one is beyond them.
    let said = work.fails(&[
        "push",
        "--atomic",
        "origin",
        "HEAD:refs/heads/a",
        "HEAD:refs/heads/b/c",
    ])?;
    assert!(
        said.contains("in the way") && said.contains("atomic"),
        "{said}"
    );
    assert_eq!(
        site.server_ref("refs/heads/a")?,
        work.git(&["rev-parse", "HEAD~1"])?
    );
    // Without the flag the good one goes through.
    work.fails(&["push", "origin", "HEAD:refs/heads/a", "HEAD:refs/heads/b/c"])?;
    assert_eq!(
        site.server_ref("refs/heads/a")?,
        work.git(&["rev-parse", "HEAD"])?
    );
    site.check()
}

#[test]
fn many_refs_at_once_go_into_packed_refs() -> Result {
    let (site, work) = filled()?;
    for n in 0..50 {
        work.git(&["tag", &format!("t{n}")])?;
    }
    work.git(&["tag", "-a", "-m", "annotated", "ta"])?;
    work.git(&["push", "-q", "origin", "--tags"])?;
    assert!(site.bare().join("packed-refs").is_file());
    assert_eq!(
        work.git(&["ls-remote", "--tags", "--refs", "origin"])?
            .lines()
            .count(),
        51
    );
    // A packed ref is updated by a loose file and deleted from both.
    work.commit("x", "1")?;
    work.git(&["tag", "-f", "t1"])?;
    work.git(&["push", "-q", "-f", "origin", "t1"])?;
    assert_eq!(
        site.server_ref("refs/tags/t1")?,
        work.git(&["rev-parse", "HEAD"])?
    );
    work.git(&["push", "-q", "origin", "--delete", "t1", "t2"])?;
    assert_eq!(
        work.git(&["ls-remote", "--tags", "--refs", "origin"])?
            .lines()
            .count(),
        49
    );
    // What stock git packs is read as well.
    support::git(&site.bare(), &["pack-refs", "--all"])?;
    assert_eq!(
        work.git(&["ls-remote", "--tags", "--refs", "origin"])?
            .lines()
            .count(),
        49
    );
    site.check()
}

#[test]
fn hidden_refs_are_neither_shown_nor_pushed() -> Result {
    let (site, work) = filled()?;
    let tip = work.git(&["rev-parse", "HEAD"])?;
    support::git(&site.bare(), &["update-ref", "refs/pull/1/head", &tip])?;
    site.hide("refs/pull/");
    for version in VERSIONS {
        let listed = work.git_v(version, &["ls-remote", "origin"])?;
        assert!(!listed.contains("pull"), "{listed}");
    }
    let said = work.fails(&["push", "origin", "HEAD:refs/pull/2/head"])?;
    assert!(said.contains("server's own"), "{said}");
    site.check()
}

#[test]
fn a_repository_written_by_stock_git_is_served() -> Result {
    let (site, work) = filled()?;
    work.git(&["push", "-q", "origin", "main"])?;
    support::git(
        &site.bare(),
        &["-c", "gc.writeCommitGraph=true", "gc", "-q"],
    )?;
    for n in 0..3 {
        work.commit("after", &n.to_string())?;
        work.git(&["push", "-q", "origin", "main"])?;
    }
    support::git(&site.bare(), &["multi-pack-index", "write"])?;
    for version in VERSIONS {
        let option = format!("protocol.version={version}");
        let clone = site.clone_to(&format!("c{version}"), &["-c", &option])?;
        clone.git(&["fsck", "--strict", "--full"])?;
    }
    site.check()
}

#[test]
fn one_stream_carries_a_whole_conversation() -> Result {
    for version in VERSIONS {
        let (site, work) = filled()?;
        let url = site.stream_url()?;
        work.git(&["remote", "set-url", "origin", &url])?;
        let option = format!("protocol.version={version}");
        let at = |name: &str| site.path(name).display().to_string();
        let top = site.path(".");
        support::git(&top, &["-c", &option, "clone", "-q", &url, &at("c")])?;
        support::git(
            &top,
            &["-c", &option, "clone", "-q", "--depth", "1", &url, &at("s")],
        )?;
        let (clone, shallow) = (Work(site.path("c")), Work(site.path("s")));
        // Many rounds of haves that lead nowhere, then some that do.
        for n in 0..200 {
            clone.git(&["commit", "-q", "--allow-empty", "-m", &format!("own {n}")])?;
        }
        work.commit("next", "1")?;
        work.git_v(version, &["push", "-q", "origin", "main"])?;
        clone.git_v(version, &["fetch", "-q", "origin"])?;
        assert_eq!(
            clone.git(&["rev-parse", "origin/main"])?,
            work.git(&["rev-parse", "HEAD"])?
        );
        clone.git(&["fsck", "--strict", "--full"])?;
        shallow.git_v(version, &["fetch", "-q", "--unshallow"])?;
        shallow.git(&["fsck", "--strict", "--full"])?;
        let said = work.fails(&["push", "origin", "--delete", "main"])?;
        assert!(said.contains("default branch"), "{said}");
        site.limit(|l| l.max_object_bytes = 100);
        work.commit("large", &"x".repeat(1000))?;
        let said = work.fails(&["push", "origin", "main"])?;
        assert!(said.contains("remote: refused: object"), "{said}");
        site.check()?;
    }
    Ok(())
}

#[test]
fn a_client_that_only_negotiates_hears_what_is_common() -> Result {
    let (site, work) = filled()?;
    let tip = work.git(&["rev-parse", "HEAD"])?;
    let own = work.commit("own", "not pushed")?;
    let args = [
        "fetch",
        "--negotiate-only",
        "--negotiation-tip=main",
        "origin",
    ];
    let common = work.git_v(2, &args)?;
    assert!(common.contains(&tip) && !common.contains(&own), "{common}");
    site.check()
}

#[test]
fn odd_file_names_and_modes_come_back_as_they_were() -> Result {
    let (site, work) = filled()?;
    for name in [
        "with space",
        "tab\there",
        "new\nline",
        "quote\"d",
        "ünïcode",
        "-dash",
        "a\\b",
    ] {
        work.write(name, name)?;
    }
    std::os::unix::fs::symlink("nowhere/at all", work.0.join("dangling"))?;
    work.commit("last", "1")?;
    work.git(&["push", "-q", "origin", "main"])?;
    let clone = site.clone_to("c", &[])?;
    assert_eq!(
        clone.git(&["ls-files", "-s"])?,
        work.git(&["ls-files", "-s"])?
    );
    assert_eq!(clone.git(&["status", "--porcelain"])?, "");
    site.check()
}
