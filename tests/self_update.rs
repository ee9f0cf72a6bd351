//! Story: a bundle brought the appliance's own next version; good ones stay, bad ones go back.

mod bad_builds;
mod cut_short;
mod database;
mod refused;

use serde_json::json;
use stories::installed::{Installed, Promise, faulty};
use testkit::git::Tree;
use testkit::program::Program;
use testkit::{Result, http};

const REPO: &str = "lab/app";

/// A workflow whose job does this.
fn workflow(script: &str) -> String {
    format!(
        "on: push\njobs:\n  a:\n    runs-on: ubuntu-latest\n    steps:\n      - run: {script}\n"
    )
}

/// The text of what a command said.
fn said(output: &std::process::Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// Pushes a workflow whose job does this, to `main`.
fn push(site: &Installed, url: &str, script: &str) -> Result<Tree> {
    let tree = Tree::init(&site.folder.path().join("tree"))?;
    tree.write(".github/workflows/ci.yml", workflow(script))?;
    tree.commit("change")?;
    tree.push(url, "+HEAD:main")?;
    Ok(tree)
}

#[test]
fn a_good_build_stays_and_rollback_goes_back() -> Result {
    let mut site = Installed::bare()?;
    let next = site.offer(&faulty("")?, &Promise::default())?;
    site.start()?;
    let (_, token) = site.repo()?;
    let status = site.status()?;
    assert_eq!(status["candidate"]["sha256"], next.as_str());
    assert_eq!(status["candidate"]["refused"], json!(null), "{status:#}");

    let applied = site.update(&["apply", "--trial", "6"])?;
    assert!(
        applied.status.success(),
        "{}\n{}",
        said(&applied),
        site.log()
    );
    assert_eq!(site.current()?, next);
    assert_eq!(site.previous().as_ref(), Some(&site.first));
    let running = site.running()?;
    assert_eq!(running["version"], "0.2.0");
    assert_eq!(running["sha256"], next.as_str());
    assert_eq!(http::get(&site.address, "/readyz", &[])?.status, 200);
    let who = [("authorization", &*format!("Bearer {token}"))];
    assert_eq!(http::get(&site.address, "/api/v1/user", &who)?.status, 200);
    assert_eq!(
        site.told()?,
        [
            "selfupdate.staged",
            "selfupdate.switched",
            "selfupdate.healthy"
        ]
    );
    let again = site.update(&["apply"])?;
    assert!(said(&again).contains("runs already"), "{}", said(&again));

    let back = site.update(&["rollback", "--trial", "6"])?;
    assert!(back.status.success(), "{}\n{}", said(&back), site.log());
    assert_eq!(site.current()?, site.first);
    assert_eq!(site.running()?["sha256"], site.first.as_str());
    assert_eq!(http::get(&site.address, "/api/v1/user", &who)?.status, 200);
    site.stop()?;
    site.cli.ok(&["fsck"])?;
    Ok(())
}

#[test]
fn jobs_may_end_before_the_switch_and_what_is_left_at_the_deadline_ends_as_lost() -> Result {
    let mut site = Installed::with_image()?;
    let next = site.offer(&faulty("")?, &Promise::default())?;
    site.start()?;
    let (url, _) = site.repo()?;
    push(&site, &url, "echo begun; sleep 600")?;
    let mut follow = Program::start(
        site.cli
            .command(&["run", "log", REPO, "--follow"])
            .stderr(std::process::Stdio::null()),
    )?;
    follow.line_with(|line| line.contains("begun") && !line.contains("sleep"))?;
    let mut apply = Program::start(
        site.command(&["update", "apply", "--hold", "3", "--trial", "6"])
            .stderr(std::process::Stdio::null()),
    )?;
    // Pushed while the jobs are held: it waits for the next version.
    while site.running().is_ok_and(|r| r["held"].is_null()) {
        vocab::Clock::sleep(std::time::Duration::from_millis(20));
    }
    std::fs::remove_dir_all(site.folder.path().join("tree"))?;
    push(&site, &url, "echo later")?;
    assert!(apply.wait()?.success(), "{}", site.log());

    let lost = site.cli.json(&["run", "show", REPO, "1"])?;
    assert_eq!(lost["jobs"][0]["outcome"], "lost", "{lost:#}");
    assert_eq!(
        lost["jobs"][0]["reason"], "the appliance was updated while this job ran",
        "{lost:#}"
    );
    let watched = site.cli.run(&["run", "watch", REPO, "2"])?;
    assert!(watched.status.success(), "{}", said(&watched));
    let job = site.cli.json(&["run", "show", REPO, "2"])?["jobs"][0].clone();
    let path = format!("/api/v1/jobs/{}/receipt", job["id"]);
    let request = http::Request {
        method: "GET",
        path: &path,
        headers: &[],
        body: b"",
    };
    let receipt = http::send_local(&site.data().join("control.sock"), &request)?.json()?;
    let runner = &receipt["runner"];
    assert_eq!(runner["version"], "0.2.0", "{receipt:#}");
    assert_eq!(runner["binary_sha256"], next.as_str(), "{receipt:#}");
    Ok(())
}
