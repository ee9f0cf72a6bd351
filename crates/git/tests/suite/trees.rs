//! Work trees in a directory of the host: whole ones, hostile ones, too large ones.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::PathBuf;

use git::{CheckoutError, Durability, ObjectId, TreeLimits, checkout_tree};

use crate::support::{self, Result, Site, Work};

fn place(site: &Site) -> PathBuf {
    site.path("trees").join("one")
}

fn checkout(
    site: &Site,
    commit: &str,
    limits: TreeLimits,
) -> std::result::Result<(), CheckoutError> {
    let repo = site.repo().expect("the site has a repository");
    let commit = ObjectId::from_hex(commit.trim().as_bytes()).expect("git prints ids");
    checkout_tree(&repo, commit, &place(site), &limits, Durability::Full)
}

/// A commit of a tree that `git mktree` takes without looking, pushed past no check.
fn forced(site: &Site, listing: &str) -> Result<String> {
    let bare = site.bare();
    let input = listing.as_bytes();
    let tree = support::git_with_input(&bare, &["mktree", "--missing"], input)?;
    let tree = String::from_utf8(tree)?;
    support::git(&bare, &["commit-tree", "-m", "x", tree.trim()])
}

fn pushed(work: &Work) -> Result<String> {
    work.git(&["add", "-A"])?;
    work.git(&["commit", "-q", "-m", "more"])?;
    work.git(&["push", "-q", "origin", "main"])?;
    work.git(&["rev-parse", "HEAD"])
}

#[test]
fn a_tree_stands_as_it_was_committed_and_links_stay_links() -> Result {
    let site = Site::new()?;
    let work = site.work("work")?;
    work.write("action.yml", "name: x\n")?;
    work.write("bin/tool", "#!/bin/sh\n")?;
    let tool = work.0.join("bin/tool");
    fs::set_permissions(&tool, fs::Permissions::from_mode(0o755))?;
    let outside = site.path("outside");
    fs::create_dir_all(&outside)?;
    symlink(&outside, work.0.join("away"))?;
    symlink("/etc/passwd", work.0.join("dist"))?;
    let commit = pushed(&work)?;
    checkout(&site, &commit, TreeLimits::default())?;
    let at = place(&site);
    assert_eq!(fs::read_to_string(at.join("action.yml"))?, "name: x\n");
    let mode = |path: &str| -> Result<u32> {
        let meta = fs::symlink_metadata(at.join(path))?;
        Ok(meta.permissions().mode() & 0o777)
    };
    assert_eq!(
        (mode("action.yml")?, mode("bin/tool")?, mode("bin")?),
        (0o644, 0o755, 0o755)
    );
    assert_eq!(
        fs::read_link(at.join("dist"))?,
        PathBuf::from("/etc/passwd")
    );
    assert_eq!(fs::read_link(at.join("away"))?, outside);
    assert_eq!(fs::read_dir(&outside)?.count(), 0);
    // A second one does not replace what somebody may be using.
    assert!(checkout(&site, &commit, TreeLimits::default()).is_err());
    assert!(at.join("action.yml").exists());
    Ok(())
}

#[test]
fn a_tree_that_would_write_through_a_link_or_upwards_is_refused() -> Result {
    let site = Site::new()?;
    let work = site.work("work")?;
    let outside = site.path("outside");
    fs::create_dir_all(&outside)?;
    symlink(&outside, work.0.join("a"))?;
    work.write("b/c", "evil\n")?;
    let commit = pushed(&work)?;
    let id = |path: &str| work.git(&["rev-parse", &format!("{}:{path}", commit.trim())]);
    let (link, tree, blob) = (id("a")?, id("b")?, id("b/c")?);
    let entry = |mode: &str, kind: &str, id: &str, name: &str| {
        format!("{mode} {kind} {}\t{name}\n", id.trim())
    };
    let twice = entry("120000", "blob", &link, "a") + &entry("040000", "tree", &tree, "a");
    for listing in [
        twice,
        entry("100644", "blob", &blob, ".."),
        entry("040000", "tree", &tree, ".git"),
        entry("040000", "tree", &tree, "."),
    ] {
        let commit = forced(&site, &listing)?;
        let refused = checkout(&site, &commit, TreeLimits::default());
        assert!(refused.is_err(), "{listing}");
        assert_eq!(fs::read_dir(&outside)?.count(), 0, "{listing}");
        let left = fs::read_dir(site.path("trees"))?.count();
        assert_eq!(left, 0, "{listing}");
    }
    // The control: the same tree with the link under another name is taken.
    let good = entry("040000", "tree", &tree, "a") + &entry("120000", "blob", &link, "b");
    let commit = forced(&site, &good)?;
    checkout(&site, &commit, TreeLimits::default())?;
    assert_eq!(fs::read_to_string(place(&site).join("a/c"))?, "evil\n");
    Ok(())
}

#[test]
fn a_tree_beyond_its_limits_is_refused_and_leaves_nothing() -> Result {
    let site = Site::new()?;
    let work = site.work("work")?;
    work.write("a/b/c", "twelve bytes")?;
    let commit = pushed(&work)?;
    let usual = TreeLimits::default();
    for (limits, said) in [
        (
            TreeLimits {
                entries: 2,
                ..usual
            },
            "2 entries",
        ),
        (TreeLimits { bytes: 11, ..usual }, "11 bytes"),
        (TreeLimits { depth: 2, ..usual }, "2 directories deep"),
    ] {
        let error = checkout(&site, &commit, limits).expect_err("it is too large");
        assert!(error.to_string().contains(said), "{error}");
        assert_eq!(fs::read_dir(site.path("trees"))?.count(), 0);
    }
    let fits = TreeLimits {
        entries: 3,
        bytes: 12,
        depth: 3,
    };
    checkout(&site, &commit, fits)?;
    Ok(())
}
