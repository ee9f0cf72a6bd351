//! Story: somebody pushes a workflow that cannot run; the push lands and says what to mend.

use stories::Site;
use testkit::{Result, http};

const REPO: &str = "lab/app";

/// Pushes `workflow`; gives what the push printed and the JSON of its run, which must have failed.
fn refused(workflow: &str) -> Result<(String, String)> {
    let site = Site::serving()?;
    let url = site.repo(REPO)?;
    let tree = site.tree_with("tree", workflow)?;
    let said = tree.push(&url, "HEAD:main")?;
    let (code, _) = site.watch(REPO)?;
    assert_eq!(code, 1, "the run did not fail");
    let run = site.appliance.json(&["run", "show", REPO])?;
    assert_eq!(
        http::get(site.appliance.address(), "/readyz", &[])?.status,
        200
    );
    Ok((said, run["problems"].to_string()))
}

#[test]
fn a_typing_mistake_is_named_by_file_line_column_and_mend() -> Result {
    let workflow =
        "on: push\njobs:\n  a:\n    run-on: ubuntu-latest\n    steps:\n      - run: echo\n";
    let (said, problems) = refused(workflow)?;
    assert!(said.contains(".github/workflows/ci.yml"), "{said}");
    assert!(problems.contains("runs-on"), "{problems}");
    assert!(
        problems.contains(".github/workflows/ci.yml:4:5") || problems.contains("\"line\":4"),
        "{problems}"
    );
    Ok(())
}

#[test]
fn ten_megabytes_of_workflow_are_refused_and_said() -> Result {
    let mut workflow = "on: push\njobs:\n  a:\n    runs-on: ubuntu-latest\n    steps:\n".to_owned();
    while workflow.len() < 10 << 20 {
        workflow.push_str("      - run: echo a line of a workflow that is far too long\n");
    }
    let (said, problems) = refused(&workflow)?;
    assert!(said.contains("ci.yml"), "{said}");
    assert!(problems.contains("ci.yml"), "{problems}");
    Ok(())
}

#[test]
fn fifty_levels_of_nesting_are_refused_and_said() -> Result {
    let deep = format!("{}1{}", "[".repeat(50), "]".repeat(50));
    let workflow = format!(
        "on: push\njobs:\n  a:\n    runs-on: ubuntu-latest\n    strategy:\n      matrix:\n        n: {deep}\n    steps:\n      - run: echo\n"
    );
    let (_, problems) = refused(&workflow)?;
    assert!(problems.contains("ci.yml"), "{problems}");
    Ok(())
}

#[test]
fn a_thousand_matrix_legs_are_refused_with_the_limit() -> Result {
    let ten = "[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]";
    let workflow = format!(
        "on: push\njobs:\n  a:\n    runs-on: ubuntu-latest\n    strategy:\n      matrix:\n        x: {ten}\n        y: {ten}\n        z: {ten}\n    steps:\n      - run: echo\n"
    );
    let (_, problems) = refused(&workflow)?;
    assert!(problems.contains("256"), "{problems}");
    Ok(())
}

#[test]
fn an_action_that_was_never_imported_is_refused_when_the_run_is_planned() -> Result {
    let workflow = "on: push\njobs:\n  a:\n    runs-on: ubuntu-latest\n    steps:\n      - uses: someone/thing@v3\n";
    let (_, problems) = refused(workflow)?;
    assert!(
        problems.contains("action someone/thing@v3 is not in the active generation"),
        "{problems}"
    );
    Ok(())
}
