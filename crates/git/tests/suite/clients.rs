//! Stock git clones, fetches and pushes, on protocol v2 and v0.

use crate::support::{self, Result, Site, VERSIONS, Work};

/// A site whose `main` has three commits.
fn filled() -> Result<(Site, Work)> {
    let site = Site::new()?;
    let work = site.work("first")?;
    work.commit("README.md", "hello\n")?;
    work.commit("src/app.py", "print(1)\n")?;
    work.commit("src/app.py", "print(2)\n")?;
    work.git(&["push", "-q", "-u", "origin", "main"])?;
    Ok((site, work))
}

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
