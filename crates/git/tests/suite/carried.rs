//! Repositories made from a carried pack, whole and with their history cut, and damaged ones.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;

use git::{CarriedError, CarriedRefs, Durability, ReceiveLimits, make_carried};

use crate::support::{self, Result, Site, VERSIONS, Work};

/// What travels: a pack, refs, and where history is cut.
struct Carried {
    pack: Vec<u8>,
    refs: BTreeMap<String, String>,
    shallow: Vec<String>,
}

impl Carried {
    fn of(work: &Work) -> Result<Self> {
        let out = support::command(&work.0)
            .args(["pack-objects", "--all", "--stdout", "-q"])
            .stdin(Stdio::null())
            .output()?;
        assert!(out.status.success());
        let listed = work.git(&["for-each-ref", "--format=%(refname) %(objectname)"])?;
        let refs = listed
            .lines()
            .filter_map(|line| line.split_once(' '))
            .filter(|(name, _)| name.starts_with("refs/tags/") || name.starts_with("refs/heads/"))
            .map(|(name, id)| (name.to_owned(), id.to_owned()));
        let shallow = std::fs::read_to_string(work.0.join(".git/shallow")).unwrap_or_default();
        Ok(Self {
            pack: out.stdout,
            refs: refs.collect(),
            shallow: shallow.lines().map(str::to_owned).collect(),
        })
    }

    fn make(&self, at: &std::path::Path) -> std::result::Result<(), CarriedError> {
        let carried = CarriedRefs {
            refs: &self.refs,
            shallow: &self.shallow,
        };
        let limits = ReceiveLimits::default();
        make_carried(at, &mut &*self.pack, carried, &limits, Durability::Full)
    }
}

/// A site with four commits on `main`, an annotated tag `v1` on the last, and a clone cut to two.
fn sites() -> Result<(Site, Work, Work)> {
    let site = Site::new()?;
    let work = site.work("work")?;
    for n in 1..=4 {
        work.commit("action.yml", &format!("version {n}\n"))?;
    }
    work.git(&["tag", "-a", "v1", "-m", "one"])?;
    work.git(&["push", "-q", "origin", "main", "v1"])?;
    let cut = site.clone_to("cut", &["--depth", "2", "--branch", "v1"])?;
    Ok((site, work, cut))
}

fn place(site: &Site) -> PathBuf {
    site.bare().with_file_name("carried.git")
}

fn url(site: &Site) -> String {
    format!("http://{}/carried.git", site.address())
}

/// Clones the carried repository with `options`; how many commits the clone has.
fn count(site: &Site, name: &str, options: &[&str]) -> Result<usize> {
    let clone = Work(site.path(name));
    let url = url(site);
    let mut args = vec!["clone", "-q"];
    args.extend(options);
    args.extend([url.as_str(), clone.0.to_str().ok_or("path")?]);
    Work(site.path("work")).git(&args)?;
    clone.git(&["fsck", "--strict"])?;
    assert_eq!(
        std::fs::read_to_string(clone.0.join("action.yml"))?,
        "version 4\n"
    );
    Ok(clone.git(&["rev-list", "HEAD"])?.lines().count())
}

#[test]
fn a_carried_repository_is_cloned_whole_or_as_far_as_asked() -> Result {
    let (site, work, _) = sites()?;
    Carried::of(&work)?.make(&place(&site))?;
    for version in VERSIONS {
        let option = format!("protocol.version={version}");
        let all = count(&site, &format!("all{version}"), &["-c", &option])?;
        assert_eq!(all, 4, "{version}");
        let options = ["-c", &option, "--depth", "1", "--branch", "v1"];
        assert_eq!(count(&site, &format!("one{version}"), &options)?, 1);
    }
    Ok(())
}

#[test]
fn a_history_that_was_cut_is_cloned_as_far_as_it_goes() -> Result {
    let (site, _, cut) = sites()?;
    let carried = Carried::of(&cut)?;
    assert_eq!(carried.shallow.len(), 1);
    carried.make(&place(&site))?;
    for version in VERSIONS {
        let option = format!("protocol.version={version}");
        for (kind, depth, commits) in [("all", "9", 2), ("two", "2", 2), ("one", "1", 1)] {
            let name = format!("{kind}{version}");
            let options = ["-c", &option, "--depth", depth, "--branch", "v1"];
            assert_eq!(count(&site, &name, &options)?, commits, "{name}");
        }
        let options = ["-c", &option, "--branch", "v1"];
        assert_eq!(count(&site, &format!("plain{version}"), &options)?, 2);
    }
    Ok(())
}

#[test]
fn what_is_not_whole_is_refused_and_leaves_nothing() -> Result {
    let (site, work, cut) = sites()?;
    let good = Carried::of(&work)?;
    let refused = |carried: &Carried| -> Result<String> {
        let error = carried.make(&place(&site)).err().ok_or("it was taken")?;
        let left = std::fs::read_dir(place(&site).parent().ok_or("path")?)?.count();
        assert_eq!(left, 1, "only a.git");
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        Ok(format!("{error}: {}", cause.unwrap_or_default()))
    };
    let damaged = |change: &dyn Fn(&mut Carried)| -> Result<String> {
        let mut carried = Carried::of(&work)?;
        change(&mut carried);
        refused(&carried)
    };
    let said = damaged(&|c| c.pack.truncate(good.pack.len() / 2))?;
    assert!(said.contains("damaged"), "{said}");
    let said = damaged(&|c| c.pack[good.pack.len() / 2] ^= 1)?;
    assert!(said.contains("damaged"), "{said}");
    let said = damaged(&|c| {
        c.refs.insert("refs/heads/../../x".into(), "0".repeat(40));
    })?;
    assert!(said.contains("cannot be served"), "{said}");
    let said = damaged(&|c| {
        c.refs.insert("refs/heads/x".into(), "1".repeat(40));
    })?;
    assert!(said.contains("lacks an object"), "{said}");
    // A history that is cut without saying so.
    let mut silent = Carried::of(&cut)?;
    silent.shallow.clear();
    let said = refused(&silent)?;
    assert!(said.contains("lacks an object"), "{said}");
    Ok(())
}
