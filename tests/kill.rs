//! Story: the server is killed at random points under load, again and again, and loses nothing.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use stories::{Site, rounds};
use testkit::git::{self, Tree};
use testkit::{Result, http};
use vocab::{Clock, Entropy};

const REPO: &str = "lab/app";
const WORKFLOW: &str = "on: push\njobs:\n  a:\n    runs-on: ubuntu-latest\n    steps:\n      - run: echo \"ran $GITHUB_SHA\"\n";

/// Pushes new branches until one fails, as it does once the server is gone. Gives the commits
/// that were acknowledged, by ref.
fn push_until_it_fails(tree: &Tree, url: &str, round: u64) -> Result<BTreeMap<String, String>> {
    let mut told = BTreeMap::new();
    for turn in 0_u64.. {
        tree.write("file", format!("{round} {turn}"))?;
        let commit = tree.commit("change")?;
        let name = format!("refs/heads/r{round}-{turn}");
        if tree.push(url, &format!("HEAD:{name}")).is_err() {
            break;
        }
        told.insert(name, commit);
    }
    Ok(told)
}

/// All runs of the repo, by the commit that they ran.
fn runs(site: &Site) -> Result<BTreeMap<String, Vec<Value>>> {
    let mut found: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    let answer = site
        .appliance
        .json(&["run", "list", REPO, "--limit", "100000"])?;
    let list = answer
        .as_array()
        .or_else(|| answer["runs"].as_array())
        .ok_or("no list of runs")?;
    for run in list {
        let commit = run["sha"].as_str().ok_or("a run has no commit")?.to_owned();
        found.entry(commit).or_default().push(run.clone());
    }
    Ok(found)
}

/// How often each commit's step printed its line, over all attempts of all jobs.
fn executions(folder: &Path) -> Result<BTreeMap<String, u32>> {
    let mut found = BTreeMap::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                open.push(path);
                continue;
            }
            let text = String::from_utf8_lossy(&std::fs::read(path)?).into_owned();
            for line in text.lines() {
                if let Some((_, commit)) = line.split_once(" ran ")
                    && commit.len() == 40
                {
                    *found.entry(commit.to_owned()).or_default() += 1;
                }
            }
        }
    }
    Ok(found)
}

/// Processes of this host that still work on `data`.
fn left_over(data: &Path) -> Result<Vec<String>> {
    let wanted = data.to_string_lossy().into_owned();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let path = entry?.path();
        let words = std::fs::read(path.join("cmdline")).unwrap_or_default();
        let words = String::from_utf8_lossy(&words).replace('\0', " ");
        let own = path
            .file_name()
            .is_some_and(|n| n == std::process::id().to_string().as_str());
        if !own && words.contains(&wanted) {
            found.push(words);
        }
    }
    Ok(found)
}

#[test]
fn nothing_is_lost_or_run_twice_when_the_server_is_killed_under_load() -> Result {
    let count = rounds(200)?;
    let mut site = Site::with_image()?;
    let token = site.appliance.user("dev", &[])?;
    site.appliance.repo(REPO, "dev")?;
    let tree = site.tree_with("tree", WORKFLOW)?;
    let chance = Entropy::scripted(11);
    let mut told = BTreeMap::new();
    for round in 0..count {
        let url = site.appliance.url(REPO, "dev", &token);
        let [low, high] = chance.bytes::<2>();
        let delay = Duration::from_millis(u64::from(u16::from_le_bytes([low, high])) % 700);
        let pushed = std::thread::scope(|scope| {
            let pusher = scope.spawn(|| push_until_it_fails(&tree, &url, round));
            Clock::sleep(delay);
            let killed = site.appliance.crash();
            let pushed = pusher.join().map_err(|_| "the pusher panicked")?;
            killed.and(pushed)
        })?;
        told.extend(pushed);
        site.appliance.start()?;
    }
    settle(&site)?;

    let url = site.appliance.url(REPO, "dev", &token);
    let listed = git::run(&tree.folder, &["ls-remote", &url])?;
    let lost: Vec<_> = told
        .iter()
        .filter(|(name, commit)| !listed.contains(&format!("{commit}\t{name}\n")))
        .collect();
    let runs = runs(&site)?;
    let without: Vec<_> = told
        .values()
        .filter(|commit| !runs.contains_key(*commit))
        .collect();
    let doubled: Vec<_> = runs.iter().filter(|(_, runs)| runs.len() > 1).collect();
    let repeated: Vec<_> = executions(&site.appliance.data().join("logs"))?
        .into_iter()
        .filter(|(_, times)| *times > 1)
        .collect();
    let mut outcomes: BTreeMap<String, u32> = BTreeMap::new();
    for run in runs.values().flatten() {
        *outcomes.entry(run["outcome"].to_string()).or_default() += 1;
    }
    println!(
        "{count} kills, {} acknowledged pushes, runs: {outcomes:?}",
        told.len()
    );
    for run in runs.values().flatten().take(50) {
        let verify = ["run", "verify", REPO, &run["number"].to_string()];
        let proved = site.appliance.json(&verify)?;
        assert_eq!(proved["good"], true, "{proved}");
    }
    assert!(!told.is_empty(), "no push was ever acknowledged");
    assert!(lost.is_empty(), "lost pushes: {lost:?}");
    assert!(without.is_empty(), "pushes without a run: {without:?}");
    assert!(doubled.is_empty(), "pushes with two runs: {doubled:?}");
    assert!(repeated.is_empty(), "jobs that ran twice: {repeated:?}");
    assert!(
        !outcomes.contains_key("null"),
        "runs that never ended: {outcomes:?}"
    );
    let silent = without_a_reason(&site, &runs)?;
    assert!(
        silent.is_empty(),
        "runs that failed, or do not say what became of them: {silent:#?}"
    );

    for repository in site.appliance.repositories()? {
        git::fsck(&repository)?;
    }
    site.appliance.stop()?;
    site.appliance.ok(&["fsck"])?;
    assert_eq!(stale_files(site.appliance.data())?, Vec::<String>::new());
    assert_eq!(left_over(site.appliance.data())?, Vec::<String>::new());
    Ok(())
}

/// Runs that did not succeed and give no reason for it.
fn without_a_reason(site: &Site, runs: &BTreeMap<String, Vec<Value>>) -> Result<Vec<Value>> {
    let mut silent = Vec::new();
    for run in runs
        .values()
        .flatten()
        .filter(|run| run["outcome"] != "success")
    {
        let number = run["number"].to_string();
        let run = site.appliance.json(&["run", "show", REPO, &number])?;
        let jobs = run["jobs"].as_array().cloned().unwrap_or_default();
        let said = jobs.iter().chain([&run]).any(|one| {
            ["reason", "why", "problems"].iter().any(|key| {
                one[*key].as_str().is_some_and(|text| !text.is_empty())
                    || one[*key].as_array().is_some_and(|list| !list.is_empty())
            })
        });
        // A step that only prints cannot fail by itself.
        if !said || run["outcome"] == "failure" {
            silent.push(run);
        }
    }
    Ok(silent)
}

/// Waits until nothing is queued or running.
fn settle(site: &Site) -> Result {
    for runs in runs(site)?.values() {
        for run in runs {
            if run["outcome"].is_null() {
                let number = run["number"].to_string();
                site.appliance.run(&["run", "watch", REPO, &number])?;
            }
        }
    }
    assert_eq!(
        http::get(site.appliance.address(), "/readyz", &[])?.status,
        200
    );
    Ok(())
}

/// Lock files and temporary files that a killed server left and the next did not sweep.
fn stale_files(data: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let mut open = vec![data.join("repos"), data.join("blobs"), data.join("logs")];
    while let Some(folder) = open.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else {
            continue;
        };
        for entry in entries {
            let path = entry?.path();
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            if path.is_dir() {
                if name.starts_with("incoming") || name.starts_with("quarantine") {
                    found.push(path.display().to_string());
                }
                open.push(path);
            } else if name.ends_with(".lock") || name.starts_with("tmp_") || name.ends_with(".tmp")
            {
                found.push(path.display().to_string());
            }
        }
    }
    Ok(found)
}
