//! T44: a build that is bad in one way is tried, found out, and gone back from, by itself.

use serde_json::json;
use stories::installed::{Installed, Promise, build, faulty};
use testkit::{Result, http};

use super::{REPO, push, said};

/// Has an appliance with a waiting job try this build, and sees that all is as it was.
fn goes_back(bytes: &[u8], promise: &Promise, reason: &str) -> Result {
    let mut site = Installed::bare()?;
    let next = site.offer(bytes, promise)?;
    site.start()?;
    let (url, token) = site.repo()?;
    push(&site, &url, "echo waits")?;
    let queue = site.cli.json(&["queue"])?;

    let applied = site.update(&["apply", "--trial", "12"])?;
    let told = said(&applied);
    assert_eq!(applied.status.code(), Some(1), "{told}\n{}", site.log());
    assert!(told.contains(reason), "{told}\n{}", site.log());
    assert_eq!(site.current()?, site.first);
    assert_eq!(site.previous(), None);
    site.serves(&site.first)?;
    assert_eq!(
        site.told()?,
        [
            "selfupdate.staged",
            "selfupdate.switched",
            "selfupdate.rolled_back"
        ]
    );
    let last = site.status()?["last"].clone();
    assert_eq!(last["state"], "rolled_back", "{last:#}");
    assert!(!site.prefix.join("versions").join(&next).exists());

    let after = site.cli.json(&["queue"])?;
    assert_eq!(queue["jobs"][0]["id"], after["jobs"][0]["id"], "{after:#}");
    let who = [("authorization", &*format!("Bearer {token}"))];
    assert_eq!(http::get(&site.address, "/api/v1/user", &who)?.status, 200);
    site.cli.ok(&["run", "list", REPO])?;
    site.stop()?;
    site.cli.ok(&["fsck"])?;
    Ok(())
}

fn bad(fault: &str, reason: &str) -> Result {
    goes_back(&faulty(fault)?, &Promise::default(), reason)
}

#[test]
fn t44_one_that_exits_at_once() -> Result {
    bad("exits at once", "it ended 3 times")
}

#[test]
fn t44_one_that_exits_after_a_second() -> Result {
    bad("exits after a second", "it ended 3 times")
}

#[test]
fn t44_one_that_hangs() -> Result {
    bad("hangs", "it does not answer")
}

#[test]
fn t44_one_that_panics_when_it_looked_healthy() -> Result {
    bad("panics later", "after the switch: exit status: 101")
}

#[test]
fn t44_one_that_listens_elsewhere() -> Result {
    bad("listens elsewhere", "and the version before on")
}

#[test]
fn t44_one_that_finds_its_port_taken() -> Result {
    bad("port taken", "cannot listen on")
}

#[test]
fn t44_one_that_eats_memory() -> Result {
    bad("eats memory", "MiB of memory")
}

#[test]
fn t44_one_that_is_never_ready() -> Result {
    bad("never ready", "503")
}

#[test]
fn t44_one_that_cannot_run_jobs() -> Result {
    bad("no sandbox", "self-test failed: job: no job can run here")
}

#[test]
fn t44_one_that_says_another_version() -> Result {
    bad(
        "says another version",
        "another program answers: version 7.7.7",
    )
}

#[test]
fn t44_one_that_deletes_its_control_socket() -> Result {
    bad("deletes its socket", "it does not answer")
}

#[test]
fn t44_one_whose_migration_fails() -> Result {
    let what = json!({ "version": "0.2.0", "migration": "-- additive\nCREATE NONSENSE" });
    let promise = Promise::default().with_migration();
    goes_back(&build(&what)?, &promise, "nothing of it was kept")
}

#[test]
fn t44_one_that_hides_a_migration_which_burns_the_bridge() -> Result {
    let what = json!({ "version": "0.2.0", "migration": "DROP TABLE label_set", "hides": true });
    goes_back(
        &build(&what)?,
        &Promise::default(),
        "would keep the version before",
    )
}
