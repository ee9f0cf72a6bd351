//! Story: a host resolves names through systemd, sss, myhostname and resolve; nothing crashes.
//!
//! Static glibc dies in those modules. So every verb runs here under such an nsswitch.conf, in a
//! mount namespace of its own.

use std::os::unix::fs::PermissionsExt as _;

use stories::folder;
use testkit::Result;
use testkit::appliance::{Appliance, debug_binary};
use testkit::git::Tree;

const SWITCH: &str = "passwd: files systemd sss\ngroup: files systemd sss\nshadow: files sss\n\
    hosts: files myhostname resolve dns\nservices: files sss\nnetgroup: sss\n";

#[test]
fn every_verb_works_under_an_nsswitch_that_kills_static_programs() -> Result {
    let folder = folder()?;
    let switch = folder.path().join("nsswitch.conf");
    std::fs::write(&switch, SWITCH)?;
    let wrapper = folder.path().join("cofferdam");
    let script = format!(
        "#!/bin/sh\nexec unshare --mount sh -c 'mount --bind {} /etc/nsswitch.conf && exec {} \"$@\"' cofferdam \"$@\"\n",
        switch.display(),
        debug_binary()?.display()
    );
    std::fs::write(&wrapper, script)?;
    std::fs::set_permissions(&wrapper, std::fs::Permissions::from_mode(0o755))?;

    let mut appliance = Appliance::init(&wrapper, &folder.path().join("data"))?;
    appliance.start()?;
    let token = appliance.user("dev", &[])?;
    appliance.repo("lab/app", "dev")?;
    let tree = Tree::init(&folder.path().join("tree"))?;
    tree.write(
        ".github/workflows/ci.yml",
        "on: push\njobs:\n  a:\n    runs-on: ubuntu-latest\n    steps:\n      - run: echo hi\n",
    )?;
    tree.commit("first")?;
    tree.push(&appliance.url("lab/app", "dev", &token), "HEAD:main")?;
    appliance.ok_with_input(&["secret", "set", "lab/app", "KEY"], "a value to be hidden")?;
    let path = tree.folder.to_str().ok_or("the path is no text")?;
    let verbs: [&[&str]; 15] = [
        &["user", "list"],
        &["token", "list", "dev"],
        &["repo", "list"],
        &["secret", "list", "lab/app"],
        &["secret", "remove", "lab/app", "KEY"],
        &["image", "list"],
        &["run", "list", "lab/app"],
        &["run", "show", "lab/app"],
        &["run", "cancel", "lab/app"],
        &["queue"],
        &["audit"],
        &["doctor"],
        &["workflow", "check", path],
        &["workflow", "eval", "1 == 1"],
        &["completions", "bash"],
    ];
    for words in verbs {
        appliance.ok(words)?;
    }
    let server = format!(
        "http://localhost:{}",
        appliance.address().rsplit(':').next().unwrap_or_default()
    );
    let named = appliance
        .command(&["--server", &server, "run", "list", "lab/app"])
        .env("COFFERDAM_TOKEN", &token)
        .output()?;
    assert!(
        named.status.success(),
        "{}",
        String::from_utf8_lossy(&named.stderr)
    );
    for words in [&["inspect"][..], &["try", "--image", "host", path]] {
        let output = appliance.run(words)?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            output.status.code().is_some(),
            "{words:?} was killed: {said}"
        );
    }
    appliance.stop()?;
    appliance.ok(&["fsck"])?;
    Ok(())
}
