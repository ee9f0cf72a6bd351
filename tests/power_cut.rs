//! Story: the power fails in the middle of pushes, and no acknowledged push is lost.
//!
//! The data directory lies on a disk that forgets whatever was not synced. The controls, stock
//! git and our own server without its syncs, must lose pushes on the same disk.

use std::collections::BTreeMap;
use std::path::Path;

use stories::{folder, rounds};
use testkit::Result;
use testkit::appliance::{Appliance, debug_binary};
use testkit::forgetful::{Forgetful, Keep};
use testkit::git::{self, Tree};
use vocab::Entropy;

/// Every cut comes within this many changes of the disk.
const CHANGES_A_ROUND: u64 = 400;

/// What a client was told, and what it may find besides.
#[derive(Default)]
struct Told {
    /// Ref name to the commit of its last acknowledged push.
    acknowledged: BTreeMap<String, String>,
    /// The pushes that broke off: they may have landed or not.
    in_flight: BTreeMap<String, String>,
    pushes: u64,
}

impl Told {
    /// Pushes new commits to `url` until the power is cut.
    fn push_until_cut(&mut self, tree: &Tree, url: &str, disk: &Forgetful, round: u64) -> Result {
        for turn in 0_u64.. {
            let branch = if turn % 3 == 0 {
                "main".to_owned()
            } else {
                format!("r{round}-{turn}")
            };
            let name = format!("refs/heads/{branch}");
            tree.write("file", format!("{round} {turn}"))?;
            let commit = tree.commit("change")?;
            match tree.push(url, &format!("+HEAD:{name}")) {
                Ok(_) => {
                    self.pushes += 1;
                    self.acknowledged.insert(name, commit);
                }
                Err(said) if disk.is_off() => {
                    drop(said);
                    self.in_flight.insert(name, commit);
                    return Ok(());
                }
                Err(said) => return Err(format!("a push failed with the power on: {said}").into()),
            }
            if disk.is_off() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Counts acknowledged pushes that `found` lacks, then believes what is there.
    fn settle(&mut self, found: &BTreeMap<String, String>) -> u64 {
        let mut lost = 0;
        for (name, commit) in &self.acknowledged {
            let there = found.get(name);
            let landed = there.is_some() && there == self.in_flight.get(name);
            if there != Some(commit) && !landed {
                lost += 1;
            }
        }
        self.in_flight.clear();
        self.acknowledged.clone_from(found);
        lost
    }
}

/// Each ref of `url` and the commit that it names.
fn refs(folder: &Path, url: &str) -> Result<BTreeMap<String, String>> {
    let listed = git::run(folder, &["ls-remote", url, "refs/heads/*"])?;
    let pairs = listed.lines().filter_map(|line| line.split_once('\t'));
    Ok(pairs
        .map(|(commit, name)| (name.to_owned(), commit.to_owned()))
        .collect())
}

/// When the next cut comes, and whether the disk wrote a part of the rest back by itself.
fn next_cut(chance: &Entropy) -> (u64, Keep) {
    let [low, high, torn, seed] = chance.bytes::<4>();
    let after = u64::from(u16::from_le_bytes([low, high])) % CHANGES_A_ROUND;
    (
        after,
        if torn % 2 == 0 {
            Keep::Nothing
        } else {
            Keep::Some(u64::from(seed))
        },
    )
}

/// Runs our own server through `count` cuts; gives how many acknowledged pushes were lost.
fn our_losses(count: u64, serve_with: &[&str], seed: u64) -> Result<(u64, u64)> {
    let folder = folder()?;
    let mount = folder.path().join("disk");
    std::fs::create_dir(&mount)?;
    let mut disk = Forgetful::mount(&mount)?;
    let mut appliance = Appliance::init(&debug_binary()?, &mount.join("data"))?;
    appliance.log_to(&folder.path().join("serve.log"));
    appliance.serve_with(serve_with);
    appliance.start()?;
    let token = appliance.user("dev", &[])?;
    appliance.repo("lab/app", "dev")?;
    let tree = Tree::init(&folder.path().join("tree"))?;
    tree.write("README.md", "# App\n")?;
    disk.settle();
    let chance = Entropy::scripted(seed);
    let (mut told, mut lost) = (Told::default(), 0);
    for round in 0..count {
        let (after, keep) = next_cut(&chance);
        disk.cut_after(after);
        let url = appliance.url("lab/app", "dev", &token);
        match told.push_until_cut(&tree, &url, &disk, round) {
            // Without its syncs it may have lost what a client builds on: that is a loss, too.
            Err(_) if !serve_with.is_empty() => return Ok((told.pushes, lost + 1)),
            pushed => pushed?,
        }
        appliance.crash()?;
        disk.power_up(keep)?;
        let started = appliance.start();
        if !serve_with.is_empty() && started.is_err() {
            // A server that never syncs may not even come up again: that is a loss too.
            return Ok((told.pushes, lost + 1));
        }
        started?;
        let url = appliance.url("lab/app", "dev", &token);
        let found = match refs(folder.path(), &url) {
            Ok(found) => found,
            Err(_) if !serve_with.is_empty() => return Ok((told.pushes, lost + 1)),
            Err(error) => return Err(error),
        };
        lost += told.settle(&found);
        if serve_with.is_empty() {
            for repository in appliance.repositories()? {
                git::fsck(&repository)?;
            }
        }
        disk.settle();
    }
    if serve_with.is_empty() {
        appliance.stop()?;
        appliance.ok(&["fsck"])?;
    }
    Ok((told.pushes, lost))
}

#[test]
fn no_acknowledged_push_is_lost_when_the_power_is_cut() -> Result {
    let count = rounds(60)?;
    let (pushes, lost) = our_losses(count, &[], 1)?;
    println!("{count} power cuts, {pushes} acknowledged pushes, {lost} lost");
    assert!(
        pushes > count,
        "too few pushes were acknowledged to tell: {pushes}"
    );
    assert_eq!(lost, 0);
    Ok(())
}

#[test]
fn control_our_server_without_its_syncs_loses_pushes() -> Result {
    let (pushes, lost) = our_losses(12, &["--lose-data-on-power-cut"], 2)?;
    println!("control without syncs: {pushes} acknowledged pushes, {lost} lost");
    assert!(
        lost > 0,
        "{pushes} pushes without a sync all survived: the disk forgets nothing"
    );
    Ok(())
}

#[test]
fn control_stock_git_loses_pushes() -> Result {
    let folder = folder()?;
    let mount = folder.path().join("disk");
    std::fs::create_dir(&mount)?;
    let mut disk = Forgetful::mount(&mount)?;
    let bare = mount.join("app.git");
    let url = bare.to_str().ok_or("the path is no text")?.to_owned();
    git::run(folder.path(), &["init", "--quiet", "--bare", &url])?;
    let tree = Tree::init(&folder.path().join("tree"))?;
    disk.settle();
    let chance = Entropy::scripted(3);
    let (mut told, mut lost) = (Told::default(), 0);
    for round in 0..8 {
        let (after, _) = next_cut(&chance);
        disk.cut_after(after);
        told.push_until_cut(&tree, &url, &disk, round)?;
        disk.power_up(Keep::Nothing)?;
        match refs(folder.path(), &url) {
            Ok(found) => lost += told.settle(&found),
            Err(_) => {
                lost += 1;
                break;
            }
        }
        disk.settle();
    }
    println!(
        "control stock git: {} acknowledged pushes, {lost} lost",
        told.pushes
    );
    assert!(lost > 0, "stock git lost none of {} pushes", told.pushes);
    Ok(())
}
