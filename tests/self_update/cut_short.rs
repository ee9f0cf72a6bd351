//! Whatever is killed when: a start brings the old version or the new one, and ends the update.

use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use stories::installed::{Installed, Promise, faulty, signal};
use stories::rounds;
use testkit::Result;
use testkit::program::Program;
use vocab::{Clock, Entropy};

use super::{push, said};

/// Lets an update end as healthy, and gives what was written of it, to be written again.
fn a_trial(site: &mut Installed) -> Result<(String, serde_json::Value)> {
    let next = site.offer(&faulty("")?, &Promise::default())?;
    site.start()?;
    let applied = site.update(&["apply", "--trial", "6"])?;
    assert!(
        applied.status.success(),
        "{}\n{}",
        said(&applied),
        site.log()
    );
    let trial = site.trial()?;
    Ok((next, trial))
}

fn write(site: &Installed, trial: &serde_json::Value) -> Result {
    Ok(std::fs::write(
        site.prefix.join("update.json"),
        trial.to_string(),
    )?)
}

#[test]
fn t44_an_update_that_was_cut_short_anywhere_is_ended_by_the_next_start() -> Result {
    let mut site = Installed::bare()?;
    let (next, mut trial) = a_trial(&mut site)?;
    let first = site.first.clone();

    // Written down, and the link not yet moved.
    site.kill()?;
    trial["state"] = "switched".into();
    trial["told"] = false.into();
    trial["strikes"] = 0.into();
    write(&site, &trial)?;
    site.point("current", &first)?;
    site.start()?;
    assert_eq!(site.over()?, "rolled_back");
    assert_eq!(site.current()?, first);
    site.serves(&first)?;

    // The link moved, and nothing restarted.
    site.kill()?;
    site.install(&faulty("")?)?;
    write(&site, &trial)?;
    site.start()?;
    assert_eq!(site.over()?, "healthy");
    assert_eq!(site.current()?, next);
    site.serves(&next)?;

    // Going back, and not there yet.
    site.kill()?;
    trial["state"] = "rolling_back".into();
    trial["reason"] = "it was bad".into();
    write(&site, &trial)?;
    site.start()?;
    assert_eq!(site.over()?, "rolled_back");
    assert_eq!(site.current()?, first);
    site.serves(&first)?;
    assert_eq!(site.trial()?["reason"], "it was bad");
    Ok(())
}

#[test]
fn t44_a_build_that_cannot_start_is_left_after_three_starts_without_any_guard() -> Result {
    let mut site = Installed::bare()?;
    let (_, mut trial) = a_trial(&mut site)?;
    let first = site.first.clone();
    site.kill()?;
    let bad = faulty("exits at once")?;
    site.point("current", &first)?;
    let bad = site.install(&bad)?;
    trial["to"]["sha256"] = bad.as_str().into();
    trial["state"] = "switched".into();
    trial["strikes"] = 0.into();
    trial["told"] = false.into();
    write(&site, &trial)?;
    let mut starts = 0;
    while site.current()? == bad {
        starts += 1;
        assert!(starts < 10, "it is never left");
        // What a unit runs before each start.
        let settled = Command::new(site.prefix.join("previous/cofferdam"))
            .args(["update", "settle", "--prefix"])
            .arg(&site.prefix)
            .output()?;
        assert!(settled.status.success(), "{}", said(&settled));
        if site.current()? == bad {
            assert!(!site.spawn()?.wait()?.success());
        }
    }
    site.start()?;
    site.serves(&first)?;
    assert_eq!(site.trial()?["state"], "rolled_back");
    let told = site.told()?;
    assert_eq!(
        told.last().map(String::as_str),
        Some("selfupdate.rolled_back")
    );
    Ok(())
}

#[test]
fn t44_the_guard_and_everything_else_killed_at_random_leaves_a_version_that_serves() -> Result {
    let mut site = Installed::bare()?;
    let first = site.first.clone();
    let next = site.offer(&faulty("")?, &Promise::default())?;
    site.start()?;
    let chance = Entropy::scripted(7);
    let mut ends = std::collections::BTreeMap::new();
    for _ in 0..rounds(8)? {
        let from = site.current()?;
        let verb = if from == first { "apply" } else { "rollback" };
        let mut asked = Program::start(
            site.command(&["update", verb, "--trial", "5"])
                .stderr(std::process::Stdio::null()),
        )?;
        let [low, high] = chance.bytes::<2>();
        let delay = u64::from(u16::from_le_bytes([low, high])) % 4_000;
        Clock::sleep(Duration::from_millis(delay));
        asked.kill()?;
        site.kill()?;
        site.start()?;
        if site.prefix.join("update.json").exists() {
            let end = site.over()?;
            *ends.entry(end).or_insert(0) += 1;
        }
        let current = site.current()?;
        assert!(current == first || current == next, "{current}");
        site.serves(&current)?;
    }
    println!("{ends:?}");
    site.stop()?;
    site.cli.ok(&["fsck"])?;
    Ok(())
}

#[test]
fn t44_a_guard_killed_while_it_holds_the_jobs_leaves_the_old_version_serving() -> Result {
    let mut site = Installed::with_image()?;
    let next = site.offer(&faulty("")?, &Promise::default())?;
    site.start()?;
    let (url, _) = site.repo()?;
    push(&site, &url, "echo begun; sleep 600")?;
    let mut follow = Program::start(
        site.cli
            .command(&["run", "log", super::REPO, "--follow"])
            .stderr(std::process::Stdio::null()),
    )?;
    follow.line_with(|line| line.contains("begun") && !line.contains("sleep"))?;
    let mut asked = Program::start(
        site.command(&["update", "apply", "--trial", "5"])
            .stderr(std::process::Stdio::null()),
    )?;
    while site.running()?["held"].is_null() {
        Clock::sleep(Duration::from_millis(20));
    }
    for guard in site.guards()? {
        signal(guard, Signal::KILL);
    }
    assert!(!asked.wait()?.success(), "apply did not notice");
    assert_eq!(site.running()?["sha256"], site.first.as_str());
    // Nobody holds the jobs any more.
    while !site.running()?["held"].is_null() {
        Clock::sleep(Duration::from_millis(20));
    }
    site.kill()?;
    // What was asked for is carried on by the next start; the job had no end.
    site.start()?;
    assert_eq!(site.over()?, "healthy");
    site.serves(&next)?;
    Ok(())
}
