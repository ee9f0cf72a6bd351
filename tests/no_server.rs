//! Story: somebody has the binary and a working tree, and no server.

use stories::{folder, tasks_app};
use testkit::Result;
use testkit::appliance::{Appliance, debug_binary};
use testkit::git::Tree;

#[test]
fn try_runs_a_working_tree_in_the_hosts_own_usr_and_its_exit_code_is_the_verdict() -> Result {
    let folder = folder()?;
    let program = Appliance::at(&debug_binary()?, &folder.path().join("none"));
    let tree = Tree::init(&folder.path().join("tree"))?;
    tasks_app(&tree)?;
    // The host's own Python may be anything; the verdict is what this story is about.
    let text = "on: push\njobs:\n  a:\n    runs-on: ubuntu-latest\n    steps:\n      - uses: actions/checkout@v4\n      - run: grep -q 'task list' README.md && echo \"$GITHUB_EVENT_NAME in $(id -u)\"\n";
    tree.write(".github/workflows/ci.yml", text)?;
    let path = tree.folder.to_str().ok_or("the path is no text")?;
    let tried = program.run(&["try", "--image", "host", path])?;
    let said = String::from_utf8_lossy(&tried.stdout).into_owned();
    let errors = String::from_utf8_lossy(&tried.stderr).into_owned();
    assert_eq!(tried.status.code(), Some(0), "{said}{errors}");
    assert!(said.contains("push in 0"), "{said}");
    // What is not committed counts too.
    tree.write("README.md", "another text\n")?;
    assert_eq!(
        program
            .run(&["try", "--image", "host", path])?
            .status
            .code(),
        Some(1)
    );
    tree.write("README.md", "a task list\n")?;
    assert_eq!(
        program
            .run(&["try", "--image", "host", path])?
            .status
            .code(),
        Some(0)
    );
    tree.write(
        ".github/workflows/ci.yml",
        text.replace("grep -q", "false; grep -q"),
    )?;
    assert_eq!(
        program
            .run(&["try", "--image", "host", path])?
            .status
            .code(),
        Some(1)
    );
    Ok(())
}

#[test]
fn doctor_says_what_this_host_offers() -> Result {
    let folder = folder()?;
    let program = Appliance::at(&debug_binary()?, &folder.path().join("none"));
    let said = program.ok(&["doctor"])?;
    for word in ["namespaces", "seccomp", "control groups", "overlay"] {
        assert!(said.contains(word), "nothing about {word}:\n{said}");
    }
    let facts = program.json(&["doctor"])?;
    assert!(facts.is_object(), "{facts}");
    Ok(())
}

#[test]
fn inspect_looks_around_as_a_job_would() -> Result {
    let folder = folder()?;
    let program = Appliance::at(&debug_binary()?, &folder.path().join("none"));
    let output = program.run(&["inspect"])?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        matches!(output.status.code(), Some(0 | 1)),
        "{said}{errors}"
    );
    assert!(!said.trim().is_empty(), "{errors}");
    Ok(())
}

#[test]
fn a_verb_that_needs_a_server_says_that_none_answers() -> Result {
    let folder = folder()?;
    let program = Appliance::at(&debug_binary()?, &folder.path().join("none"));
    let refused = program.run(&["run", "list", "lab/app"])?;
    assert_eq!(refused.status.code(), Some(2));
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("cofferdam serve"), "{said}");
    Ok(())
}
