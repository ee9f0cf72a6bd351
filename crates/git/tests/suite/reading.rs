//! The read side against what stock git says, and checkouts against stock git's own eyes.

use std::collections::BTreeMap;

use git::{CheckoutOptions, EntryKind, ObjectId, Repository};

use crate::support::{Result, Site, Work, git};

fn id(text: &str) -> Result<ObjectId> {
    Ok(ObjectId::from_hex(text.as_bytes())?)
}

/// A history with a merge, a link, a program, a deletion and a submodule.
fn storied() -> Result<(Site, Work)> {
    let site = Site::new()?;
    let work = site.work("w")?;
    work.commit("README.md", "hello\n")?;
    work.commit("src/a.py", "1\n")?;
    work.write("run.sh", "#!/bin/sh\n")?;
    std::os::unix::fs::symlink("src/a.py", work.0.join("link"))?;
    work.git(&["add", "-A"])?;
    work.git(&["update-index", "--chmod=+x", "run.sh"])?;
    let sub = format!("160000,{},sub", "7".repeat(40));
    work.git(&["update-index", "--add", "--cacheinfo", &sub])?;
    work.git(&["commit", "-q", "-m", "link and program\n\nwith a body"])?;
    work.git(&["checkout", "-q", "-f", "main"])?;
    work.git(&["checkout", "-q", "-b", "side", "HEAD~1"])?;
    work.commit("src/b/deep.py", "2\n")?;
    work.git(&["checkout", "-q", "main"])?;
    work.git(&["merge", "-q", "--no-ff", "-m", "merge side", "side"])?;
    work.git(&["rm", "-q", "README.md"])?;
    work.git(&["commit", "-q", "-m", "no readme"])?;
    work.git(&["tag", "-a", "-m", "one", "v1"])?;
    work.git(&["push", "-q", "origin", "main", "side", "v1"])?;
    Ok((site, work))
}

#[test]
fn revisions_come_to_commits() -> Result {
    let (site, work) = storied()?;
    let repo = site.repo()?;
    let head = work.git(&["rev-parse", "HEAD"])?;
    for (text, name) in [
        ("HEAD", Some("refs/heads/main")),
        ("main", Some("refs/heads/main")),
        ("refs/heads/main", Some("refs/heads/main")),
        ("v1", Some("refs/tags/v1")),
        (&head, None),
        (&head[..7], None),
        (&head.to_uppercase()[..12], None),
    ] {
        let found = repo.resolve(text)?.ok_or("unresolved")?;
        assert_eq!(found.commit.to_string(), head, "{text}");
        assert_eq!(found.ref_name.as_deref(), name, "{text}");
    }
    for text in ["none", &head[..6], "", "../x", &"8".repeat(40)] {
        assert_eq!(repo.resolve(text)?, None, "{text}");
    }
    let tree = work.git(&["rev-parse", "HEAD^{tree}"])?;
    assert!(repo.resolve(&tree).is_err());
    let branches: Vec<_> = repo
        .refs()?
        .all()
        .iter()
        .filter_map(|r| r.branch().map(str::to_owned))
        .collect();
    assert_eq!(branches, ["main", "side"]);
    Ok(())
}

#[test]
fn commits_directories_and_files_are_read() -> Result {
    let (site, work) = storied()?;
    let objects = site.repo()?.objects();
    let head = id(&work.git(&["rev-parse", "HEAD"])?)?;
    let merge = objects.commit(id(&work.git(&["rev-parse", "HEAD~1"])?)?)?;
    assert_eq!(merge.summary(), "merge side");
    assert_eq!(merge.parents.len(), 2);
    assert_eq!(merge.author.name, "A U Thor");
    assert_eq!(merge.committer.email, "committer@example.org");
    let at = work.git(&["log", "-1", "--format=%ct", "HEAD~1"])?;
    assert_eq!(merge.committer.seconds.to_string(), at);
    let root: BTreeMap<_, _> = objects
        .tree(head, "")?
        .ok_or("no root")?
        .into_iter()
        .map(|e| (e.name.clone(), e.kind))
        .collect();
    assert_eq!(root["run.sh"], EntryKind::Executable);
    assert_eq!(root["link"], EntryKind::Symlink);
    assert_eq!(root["sub"], EntryKind::Submodule);
    assert_eq!(root["src"], EntryKind::Directory);
    assert!(!root.contains_key("README.md"));
    assert_eq!(
        objects.tree(head, "src/b")?.ok_or("no dir")?[0].name,
        "deep.py"
    );
    assert_eq!(objects.tree(head, "src/a.py")?, None);
    assert_eq!(
        objects.file(head, "src/b/deep.py", 10)?.as_deref(),
        Some(&b"2\n"[..])
    );
    assert_eq!(objects.file(head, "src/none", 10)?, None);
    assert!(objects.file(head, "src/b/deep.py", 1).is_err());
    Ok(())
}

#[test]
fn logs_and_last_changes_agree_with_stock_git() -> Result {
    let (site, work) = storied()?;
    let objects = site.repo()?.objects();
    let head = id(&work.git(&["rev-parse", "HEAD"])?)?;
    let log = objects.log(head, None, 0, 100)?;
    assert_eq!(
        log.commits.len(),
        work.git(&["rev-list", "HEAD"])?.lines().count()
    );
    assert!(!log.more);
    let page = objects.log(head, None, 1, 2)?;
    assert_eq!(page.commits[..], log.commits[1..3]);
    assert!(page.more);
    for path in [
        "src",
        "src/a.py",
        "src/b/deep.py",
        "README.md",
        "link",
        "none",
    ] {
        let ours: Vec<String> = objects
            .log(head, Some(path), 0, 100)?
            .commits
            .iter()
            .map(|c| c.id.to_string())
            .collect();
        let theirs = work.git(&["rev-list", "HEAD", "--", path])?;
        assert_eq!(ours, theirs.lines().collect::<Vec<_>>(), "{path}");
    }
    for change in objects.last_changes(head, "", 1000)?.ok_or("no root")? {
        let theirs = work.git(&["log", "-1", "--format=%H", "--", &change.entry.name])?;
        assert_eq!(
            change.commit.ok_or("unknown")?.to_string(),
            theirs,
            "{}",
            change.entry.name
        );
    }
    let bounded = objects.last_changes(head, "", 1)?.ok_or("no root")?;
    assert!(bounded.iter().any(|c| c.commit.is_none()));
    assert_eq!(objects.last_changes(head, "none", 10)?, None);
    Ok(())
}

#[test]
fn changed_paths_and_ancestry_agree_with_stock_git() -> Result {
    let (site, work) = storied()?;
    let objects = site.repo()?.objects();
    let commits = work.git(&["rev-list", "--all"])?;
    let commits: Vec<&str> = commits.lines().collect();
    for a in &commits {
        for b in &commits {
            let ours = objects.changed_paths(Some(id(a)?), id(b)?, 1000)?;
            let theirs = work.git(&["diff-tree", "-r", "--name-only", "--no-renames", a, b])?;
            let mut theirs: Vec<&str> = theirs.lines().collect();
            theirs.sort_unstable();
            assert_eq!(ours.paths, theirs);
            let older = work.git(&["merge-base", "--is-ancestor", a, b]).is_ok();
            assert_eq!(objects.is_ancestor(id(a)?, id(b)?)?, older, "{a} {b}");
        }
    }
    let all = objects.changed_paths(None, id(commits[0])?, 1000)?;
    let files = work.git(&["ls-tree", "-r", "--name-only", commits[0]])?;
    assert_eq!(all.paths, files.lines().collect::<Vec<_>>());
    assert!(objects.changed_paths(None, id(commits[0])?, 2)?.truncated);
    Ok(())
}

/// Unpacks a checkout and lets stock git look at it.
fn check_out(
    repo: &Repository,
    commit: &str,
    options: &CheckoutOptions,
    to: &std::path::Path,
) -> Result<Work> {
    let mut tar = Vec::new();
    git::checkout_tar(repo, id(commit)?, options, &mut tar)?;
    tar::Archive::new(tar.as_slice()).unpack(to)?;
    let work = Work(to.join(&options.path_prefix));
    assert_eq!(work.git(&["status", "--porcelain"])?, "");
    assert_eq!(work.git(&["rev-parse", "HEAD"])?, commit);
    work.git(&["fsck", "--strict", "--full"])?;
    Ok(work)
}

#[test]
fn a_checkout_is_clean_to_stock_git() -> Result {
    let (site, work) = storied()?;
    let repo = site.repo()?;
    let head = work.git(&["rev-parse", "HEAD"])?;
    let options = CheckoutOptions {
        ref_name: Some("refs/heads/main".to_owned()),
        remote_url: site.url(),
        ..CheckoutOptions::default()
    };
    let one = check_out(&repo, &head, &options, &site.path("one"))?;
    assert_eq!(one.git(&["rev-list", "--count", "HEAD"])?, "1");
    assert_eq!(one.git(&["status", "-sb"])?, "## main...origin/main");
    assert_eq!(one.git(&["remote", "get-url", "origin"])?, site.url());
    assert!(one.0.join("sub").is_dir());
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(one.0.join("run.sh"))?.permissions(),
    );
    assert_eq!(mode & 0o777, 0o755);
    assert_eq!(
        std::fs::read_link(one.0.join("link"))?,
        std::path::Path::new("src/a.py")
    );
    // It is a clone like any other.
    one.git(&["fetch", "-q", "--unshallow"])?;
    assert_eq!(
        one.git(&["rev-list", "--count", "HEAD"])?,
        work.git(&["rev-list", "--count", "HEAD"])?
    );
    one.commit("new", "1")?;
    one.git(&["push", "-q", "origin", "main"])?;
    site.check()
}

#[test]
fn a_checkout_goes_as_deep_as_asked_and_where_asked() -> Result {
    let (site, work) = storied()?;
    let repo = site.repo()?;
    let head = work.git(&["rev-parse", "HEAD"])?;
    let mut options = CheckoutOptions {
        depth: 2,
        path_prefix: "some/where".to_owned(),
        ref_name: Some("refs/tags/v1".to_owned()),
        remote_url: site.url(),
        ..CheckoutOptions::default()
    };
    let two = check_out(&repo, &head, &options, &site.path("two"))?;
    assert_eq!(
        two.git(&["rev-list", "--count", "--first-parent", "HEAD"])?,
        "2"
    );
    assert_eq!(two.git(&["describe", "--tags"])?, "v1");
    options.depth = 0;
    let all = check_out(&repo, &head, &options, &site.path("all"))?;
    let count = work.git(&["rev-list", "--count", "HEAD"])?;
    assert_eq!(all.git(&["rev-list", "--count", "HEAD"])?, count);
    assert!(!all.0.join(".git/shallow").exists());
    let remotes = all.git(&["for-each-ref", "--format=%(refname)", "refs/remotes"])?;
    assert_eq!(
        remotes,
        "refs/remotes/origin/main\nrefs/remotes/origin/side"
    );
    // An old commit by itself: detached, nothing newer along.
    let first = work.git(&["rev-list", "--max-parents=0", "HEAD"])?;
    options.depth = 1;
    options.ref_name = None;
    options.path_prefix = String::new();
    let old = check_out(&repo, &first, &options, &site.path("old"))?;
    assert_eq!(std::fs::read_to_string(old.0.join("README.md"))?, "hello\n");
    assert!(old.git(&["symbolic-ref", "-q", "HEAD"]).is_err());
    for prefix in ["../x", "/abs", "a/../b", "./a"] {
        options.path_prefix = prefix.to_owned();
        assert!(
            git::checkout_tar(&repo, id(&first)?, &options, std::io::sink()).is_err(),
            "{prefix}"
        );
    }
    Ok(())
}

#[test]
fn a_checkout_of_many_files_and_long_paths_is_clean() -> Result {
    let site = Site::new()?;
    let work = site.work("w")?;
    for n in 0..300 {
        work.write(
            &format!("d{}/{}/f{n}", n % 9, "long".repeat(40)),
            &format!("{n}\n"),
        )?;
    }
    work.write("a.b", "sorts between")?;
    work.write("a/b", "a directory and a name like it")?;
    work.write("empty", "")?;
    let head = work.commit("größe ü.txt", "umlaut")?;
    work.git(&["push", "-q", "origin", "main"])?;
    let options = CheckoutOptions {
        ref_name: Some("refs/heads/main".to_owned()),
        remote_url: site.url(),
        ..CheckoutOptions::default()
    };
    check_out(&*site.repo()?, &head, &options, &site.path("c"))?;
    Ok(())
}

#[test]
fn a_sha256_repository_works_like_another() -> Result {
    let site = Site::new()?;
    std::fs::remove_dir_all(site.bare())?;
    let bare = site.bare();
    let parent = bare.parent().ok_or("parent")?;
    git(
        parent,
        &[
            "init",
            "-q",
            "--bare",
            "-b",
            "main",
            "--object-format=sha256",
            "a.git",
        ],
    )?;
    let path = site.path("w");
    git(
        parent,
        &[
            "init",
            "-q",
            "-b",
            "main",
            "--object-format=sha256",
            path.to_str().ok_or("path")?,
        ],
    )?;
    let work = Work(path);
    work.git(&["remote", "add", "origin", &site.url()])?;
    work.commit("a", "1")?;
    let head = work.commit("a", "2")?;
    work.git(&["push", "-q", "origin", "main"])?;
    for version in crate::support::VERSIONS {
        let option = format!("protocol.version={version}");
        let clone = site.clone_to(&format!("c{version}"), &["-c", &option])?;
        assert_eq!(clone.git(&["rev-parse", "HEAD"])?, head);
    }
    let options = CheckoutOptions::default();
    check_out(&*site.repo()?, &head, &options, &site.path("out"))?;
    site.check()
}
