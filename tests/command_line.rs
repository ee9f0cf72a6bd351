//! Story: scripts use the command line; its exit codes and its JSON can be relied on.

use stories::{Site, folder};
use testkit::Result;
use testkit::appliance::{Appliance, debug_binary};

const REPO: &str = "lab/app";
const GREEN: &str =
    "on: push\njobs:\n  a:\n    runs-on: ubuntu-latest\n    steps:\n      - run: echo fine\n";

#[test]
fn watch_exits_0_on_success_1_on_failure_2_on_error() -> Result {
    let site = Site::with_image()?;
    let url = site.repo(REPO)?;
    let tree = site.tree_with("tree", GREEN)?;
    assert_eq!(site.push_and_watch(&tree, &url, REPO)?.0, 0);
    tree.write(
        ".github/workflows/ci.yml",
        GREEN.replace("echo fine", "exit 3"),
    )?;
    tree.commit("fail")?;
    assert_eq!(site.push_and_watch(&tree, &url, REPO)?.0, 1);
    let missing = site.appliance.run(&["run", "watch", "lab/nothing"])?;
    assert_eq!(missing.status.code(), Some(2));
    assert!(!missing.stderr.is_empty());
    let absent = site.appliance.run(&["run", "watch", REPO, "99"])?;
    assert_eq!(absent.status.code(), Some(2));
    Ok(())
}

#[test]
fn a_run_can_be_cancelled_and_started_again() -> Result {
    let site = Site::with_image()?;
    let url = site.repo(REPO)?;
    let tree = site.tree_with("tree", &GREEN.replace("echo fine", "echo begun; sleep 600"))?;
    tree.push(&url, "HEAD:main")?;
    let mut follow = testkit::program::Program::start(
        site.appliance
            .command(&["run", "log", REPO, "--follow"])
            .stderr(std::process::Stdio::null()),
    )?;
    follow.line_with(|line| line.contains("begun") && !line.contains("sleep"))?;
    site.appliance.ok(&["run", "cancel", REPO])?;
    assert_eq!(site.watch(REPO)?.0, 1);
    let run = site.appliance.json(&["run", "show", REPO])?;
    assert_eq!(run["outcome"], "cancelled", "{run:#}");

    tree.write(".github/workflows/ci.yml", GREEN)?;
    tree.commit("short")?;
    assert_eq!(site.push_and_watch(&tree, &url, REPO)?.0, 0);
    site.appliance.ok(&["run", "rerun", REPO])?;
    assert_eq!(site.watch(REPO)?.0, 0);
    Ok(())
}

#[test]
fn every_list_has_json_and_a_job_without_an_image_waits_with_a_reason() -> Result {
    let site = Site::serving()?;
    let url = site.repo(REPO)?;
    let tree = site.tree_with("tree", GREEN)?;
    tree.push(&url, "HEAD:main")?;
    let lists: [&[&str]; 8] = [
        &["user", "list"],
        &["token", "list", "dev"],
        &["repo", "list"],
        &["secret", "list", REPO],
        &["image", "list"],
        &["run", "list", REPO],
        &["run", "show", REPO],
        &["queue"],
    ];
    for words in lists {
        let answer = site.appliance.json(words)?;
        assert!(
            answer.is_array() || answer.is_object(),
            "{words:?}: {answer}"
        );
    }
    let queue = site.appliance.ok(&["queue"])?;
    assert!(
        queue.contains("import a bundle"),
        "the wait has no reason:\n{queue}"
    );
    Ok(())
}

#[test]
fn a_wrong_workflow_is_named_by_file_line_and_column() -> Result {
    let folder = folder()?;
    let program = Appliance::at(&debug_binary()?, &folder.path().join("none"));
    let (good, bad) = (
        folder.path().join("good.yml"),
        folder.path().join("bad.yml"),
    );
    std::fs::write(&good, GREEN)?;
    std::fs::write(&bad, GREEN.replace("runs-on", "run-on"))?;
    let check = |path: &std::path::Path| {
        program.run(&["workflow", "check", path.to_str().unwrap_or_default()])
    };
    assert_eq!(check(&good)?.status.code(), Some(0));
    let refused = check(&bad)?;
    assert_eq!(refused.status.code(), Some(1));
    let said = String::from_utf8_lossy(&refused.stdout).into_owned();
    let first = said.lines().next().unwrap_or_default();
    let place = first
        .strip_prefix(bad.to_str().unwrap_or_default())
        .unwrap_or_default();
    let numbers: Vec<&str> = place.split(':').skip(1).take(2).collect();
    assert!(
        numbers.len() == 2 && numbers.iter().all(|n| n.parse::<u32>().is_ok()),
        "no path:line:col at the start of: {said}"
    );
    Ok(())
}

#[test]
fn the_audit_log_names_what_was_done() -> Result {
    let site = Site::serving()?;
    let url = site.repo(REPO)?;
    site.tree_with("tree", GREEN)?.push(&url, "HEAD:main")?;
    let log = site.appliance.ok(&["audit", "--limit", "200"])?;
    for kind in ["user", "token", "repo", "push"] {
        assert!(log.contains(kind), "no entry about {kind}:\n{log}");
    }
    Ok(())
}
