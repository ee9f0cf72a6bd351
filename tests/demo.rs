//! Story: a developer pushes; the push names its run; the run is green, red, and green again.

use std::fs;

use serde_json::Value;
use stories::{Site, tasks_app};
use testkit::git;
use testkit::{Result, http};

const REPO: &str = "lab/tasks-app";
const LAST_STEP: &str = "this step ran although the tests may have failed";

/// The receipt of the first job of the newest run.
fn receipt(site: &Site) -> Result<Value> {
    let run = site.appliance.json(&["run", "show", REPO])?;
    let job = &run["jobs"][0]["id"];
    let path = format!("/api/v1/jobs/{job}/receipt");
    let request = http::Request {
        method: "GET",
        path: &path,
        headers: &[],
        body: b"",
    };
    let answer = http::send_local(&site.appliance.data().join("control.sock"), &request)?;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

#[test]
fn a_push_goes_green_a_broken_test_red_and_its_fix_green_again() -> Result {
    let mut site = Site::with_image()?;
    let url = site.repo(REPO)?;
    let tree = site.tree("tree")?;
    tasks_app(&tree)?;

    let said = tree.push(&url, "HEAD:main")?;
    let page = format!("http://{}/{REPO}/runs/1", site.appliance.address());
    assert!(
        said.contains(&page),
        "the push does not name its run's page {page}:\n{said}"
    );
    let (code, log) = site.watch(REPO)?;
    assert_eq!(code, 0, "{log}");
    assert!(log.contains("Ran 5 tests"), "{log}");
    assert!(log.contains(LAST_STEP), "{log}");

    let source = tree.folder.join("tasks.py");
    let sound = fs::read_to_string(&source)?;
    fs::write(&source, sound.replace("default=0) + 1", "default=0) + 2"))?;
    tree.commit("break a test")?;
    let (code, log) = site.push_and_watch(&tree, &url, REPO)?;
    assert_eq!(code, 1, "{log}");
    assert!(log.contains("FAILED"), "{log}");
    assert!(log.contains(LAST_STEP), "the last step did not run: {log}");

    fs::write(&source, sound)?;
    tree.commit("mend it")?;
    let (code, log) = site.push_and_watch(&tree, &url, REPO)?;
    assert_eq!(code, 0, "{log}");

    for repository in site.appliance.repositories()? {
        git::fsck(&repository)?;
    }
    site.appliance.stop()?;
    site.appliance.ok(&["fsck"])?;
    Ok(())
}

#[test]
fn the_receipt_says_where_the_job_ran_and_what_it_tried() -> Result {
    let site = Site::with_image()?;
    let url = site.repo(REPO)?;
    let quiet =
        "on: push\njobs:\n  a:\n    runs-on: ubuntu-latest\n    steps:\n      - run: echo hello\n";
    let tree = site.tree_with("tree", quiet)?;
    let (code, log) = site.push_and_watch(&tree, &url, REPO)?;
    assert_eq!(code, 0, "{log}");
    let first = receipt(&site)?;
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    assert_eq!(first["machine"]["kernel"], kernel.trim(), "{first:#}");
    let layers = first["layers"]
        .as_array()
        .ok_or("the receipt lists no layers")?;
    assert!(layers.len() >= 8, "{first:#}");
    let outside = first["uid_map"][0][1]
        .as_u64()
        .ok_or("the receipt has no uid map")?;
    assert!(
        outside >= 65_536,
        "root inside must be nobody outside: {first:#}"
    );
    let attempts = |receipt: &Value| receipt["network"]["refused_packets"].as_u64();

    let curious = "on: push\njobs:\n  a:\n    runs-on: ubuntu-latest\n    steps:\n      - run: |\n          for n in 1 2 3; do (echo > /dev/tcp/192.0.2.$n/80) 2>/dev/null || true; done\n";
    tree.write(".github/workflows/ci.yml", curious)?;
    tree.commit("try to call out")?;
    let (code, log) = site.push_and_watch(&tree, &url, REPO)?;
    assert_eq!(code, 0, "{log}");
    let second = receipt(&site)?;
    assert_eq!(attempts(&first), Some(0), "{first:#}");
    assert_eq!(attempts(&second), Some(3), "{second:#}");
    Ok(())
}

#[test]
fn a_secret_reaches_the_step_and_never_the_log() -> Result {
    let site = Site::with_image()?;
    let url = site.repo(REPO)?;
    site.appliance
        .ok_with_input(&["secret", "set", REPO, "KEY"], "hunter2hunter2")?;
    let workflow = "on: push\njobs:\n  a:\n    runs-on: ubuntu-latest\n    steps:\n      - env:\n          KEY: ${{ secrets.KEY }}\n        run: |\n          echo \"the key is $KEY\"\n          test ${#KEY} = 14\n";
    let tree = site.tree_with("tree", workflow)?;
    let (code, log) = site.push_and_watch(&tree, &url, REPO)?;
    assert_eq!(code, 0, "{log}");
    assert!(log.contains("the key is ***"), "{log}");
    assert!(!log.contains("hunter2"), "{log}");
    let named = receipt(&site)?["secrets"].to_string();
    assert!(named.contains("KEY"), "{named}");
    Ok(())
}

#[test]
fn needs_matrix_outputs_and_conditions_work_together() -> Result {
    let site = Site::with_image()?;
    let url = site.repo(REPO)?;
    let workflow = "\
on: push
jobs:
  first:
    runs-on: ubuntu-latest
    outputs:
      word: ${{ steps.say.outputs.word }}
    steps:
      - id: say
        run: echo word=abracadabra >> \"$GITHUB_OUTPUT\"
  legs:
    needs: first
    runs-on: ubuntu-latest
    strategy:
      matrix:
        n: [1, 2]
        include:
          - n: 3
            extra: yes-please
    steps:
      - run: echo \"leg ${{ matrix.n }} ${{ needs.first.outputs.word }} ${{ matrix.extra }}\"
  never:
    needs: legs
    if: failure()
    runs-on: ubuntu-latest
    steps:
      - run: exit 1
";
    let tree = site.tree_with("tree", workflow)?;
    let (code, log) = site.push_and_watch(&tree, &url, REPO)?;
    assert_eq!(code, 0, "{log}");
    for leg in [
        "leg 1 abracadabra",
        "leg 2 abracadabra",
        "leg 3 abracadabra yes-please",
    ] {
        assert!(log.contains(leg), "no {leg:?} in {log}");
    }
    let run = site.appliance.json(&["run", "show", REPO])?;
    let jobs = run["jobs"].as_array().ok_or("the run has no jobs")?;
    assert_eq!(jobs.len(), 5, "{run:#}");
    let never = jobs
        .iter()
        .find(|job| job["name"] == "never")
        .ok_or("no job `never`")?;
    assert_eq!(never["outcome"], "skipped", "{never:#}");
    Ok(())
}
