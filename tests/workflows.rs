//! Story: somebody tries workflows written for hosted runners; each ends as its author expects, or
//! is refused by the name of what is not served.

use std::path::Path;
use std::process::Command;

use stories::{folder, workspace};
use testkit::Result;
use testkit::appliance::{Appliance, debug_binary};
use testkit::git::Tree;

/// What `cofferdam try` must come to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    /// All went well.
    Green,
    /// It ran, and failed.
    Red,
    /// Nothing ran, and this was said.
    Refused(&'static str),
    /// It ran, and failed for want of a network.
    Offline,
    /// It ran, and failed for want of something else, and this was said.
    Lacks(&'static str),
}

use End::{Green, Lacks, Offline, Red, Refused};

const ACTION: &str = "is not in the active generation";
/// Such actions lie beside the suite's rows, where a working tree of one row has none.
const NO_FILE: &str = "there is no action.yml in";
/// A working tree is tried without a generation.
const NO_NODE: &str = "is run by Node 20 or newer, and this generation has none";

/// How each row of the suite ends here; a row without an entry is an error.
const ROWS: &[(&str, End)] = &[
    ("shells/defaults", Refused("'container' of job")),
    ("shells/bash", Refused("'container' of job")),
    ("shells/sh", Refused("'container' of job")),
    ("local-action-dockerfile", Lacks(NO_FILE)),
    ("local-action-js", Lacks(NO_FILE)),
    ("uses-composite-with-error", Red),
    ("uses-composite-check-for-input-shadowing", Lacks(NO_NODE)),
    (
        "remote-action-composite-js-pre-with-defaults",
        Refused(ACTION),
    ),
    ("uses-workflow", Refused("'uses' of job")),
    ("uses-docker-url", Refused(ACTION)),
    ("evalmatrix", Green),
    ("evalmatrixneeds2", Green),
    ("evalmatrix-merge-array", Green),
    ("basic", Refused(ACTION)),
    ("runs-on", Green),
    ("job-container", Refused("'container' of job")),
    (
        "job-container-invalid-credentials",
        Refused("'container' of job"),
    ),
    ("remote-action-docker", Refused(ACTION)),
    ("remote-action-js", Refused(ACTION)),
    ("matrix", Green),
    ("matrix-exitcode", Red),
    ("workdir", Green),
    ("composite-fail-with-output", Lacks(NO_FILE)),
    ("issue-598", Refused(ACTION)),
    ("env-and-path", Green),
    ("GITHUB_STATE", Refused(ACTION)),
    ("non-existent-action", Red),
    ("networking", Offline),
    ("steps-context/outcome", Green),
    ("if-expressions", Red),
    ("uses-action-with-pre-and-post-step", Refused(ACTION)),
    ("docker-action-custom-path", Lacks(NO_FILE)),
    ("ensure-post-steps", Lacks(NO_NODE)),
    ("workflow_dispatch", Green),
    ("workflow_dispatch-scalar", Green),
    ("uses-workflow-defaults", Refused("'uses' of job")),
    ("path-handling", Refused(ACTION)),
    ("set-env-step-env-override", Green),
    ("no-panic-on-invalid-composite-action", Refused(ACTION)),
    ("services", Refused("'services' of job")),
    ("services-host-network", Refused("'services' of job")),
    (
        "mysql-service-container-with-health-check",
        Refused("'services' of job"),
    ),
    (
        "docker-action-host-env",
        Lacks("actions in containers are not served"),
    ),
    // Written for the shells of Windows.
    ("windows-add-env", Lacks("exit code 2")),
    ("windows-add-env-powershell-5", Lacks("is for Windows")),
    ("nix-prepend-path", Green),
    ("post-step-failure-is-job-failure", Lacks(NO_NODE)),
    ("mask-values", Green),
    // Its required inputs are not given.
    ("input-from-cli", Refused("input 'NAME' is required")),
    // Expected green only for the legs that the suite's own runner was told to keep.
    ("matrix-with-user-inclusions", Red),
];

/// Rows refused for one job in a container, and their other jobs, which must be green without it.
const SERVED_PARTS: &[(&str, &[&str])] = &[
    ("shells/defaults", &["check"]),
    ("shells/bash", &["check", "check-job-default"]),
    ("shells/sh", &["check", "check-job-default"]),
];

/// Copies a row's files to a working tree, its workflows also to where workflows stand.
fn lay_out(from: &Path, tree: &Path, row: &str) -> Result {
    let workflows = tree.join(".github/workflows");
    let beside = tree.join(row);
    std::fs::create_dir_all(&workflows)?;
    if let Some(above) = beside.parent() {
        std::fs::create_dir_all(above)?;
    }
    let copied = Command::new("cp")
        .arg("-r")
        .arg(from)
        .arg(&beside)
        .status()?;
    assert!(copied.success(), "cannot copy {}", from.display());
    for file in std::fs::read_dir(from)? {
        let file = file?.path();
        let is_workflow = file.extension().is_some_and(|e| e == "yml" || e == "yaml");
        if let Some(name) = file.file_name().filter(|_| is_workflow) {
            std::fs::copy(&file, workflows.join(name))?;
        }
    }
    Ok(())
}

struct Tried {
    code: Option<i32>,
    said: String,
}

fn attempt(program: &Appliance, tree: &Path, more: &[&str]) -> Result<Tried> {
    let path = tree.to_str().ok_or("the path is no text")?;
    let mut words = vec!["try", "--image", "host", "--actor", "nektos/act"];
    words.extend_from_slice(more);
    words.push(path);
    let output = program.run(&words)?;
    let mut said = String::from_utf8_lossy(&output.stdout).into_owned();
    said.push_str(&String::from_utf8_lossy(&output.stderr));
    Ok(Tried {
        code: output.status.code(),
        said,
    })
}

fn is_as_told(end: End, tried: &Tried) -> bool {
    match end {
        Green => tried.code == Some(0),
        Red | Offline => tried.code == Some(1),
        Refused(words) => tried.code == Some(2) && tried.said.contains(words),
        Lacks(words) => tried.code == Some(1) && tried.said.contains(words),
    }
}

#[test]
fn workflows_of_the_shared_suite_end_as_expected_or_are_refused_by_name() -> Result {
    let Some(suite) = stories::suite("act")? else {
        return Ok(());
    };
    let folder = folder()?;
    let program = Appliance::at(&debug_binary()?, &folder.path().join("none"));
    let manifest = std::fs::read_to_string(suite.join("manifest.tsv"))?;
    let (mut served, mut refused, mut wrong) = (0, 0, Vec::new());
    for line in manifest.lines().skip(1) {
        let mut fields = line.split('\t');
        let [Some(row), Some(event), Some(expected)] =
            [fields.next(), fields.next(), fields.next()]
        else {
            return Err(format!("the manifest has the line '{line}'").into());
        };
        let from = suite.join(row);
        if !from.is_dir() {
            println!("{row}: its files are not in the suite");
            continue;
        }
        let Some((_, end)) = ROWS.iter().find(|(name, _)| *name == row) else {
            wrong.push(format!("{row}: nobody said how it ends here"));
            continue;
        };
        let tree = folder.path().join(row.replace('/', "-"));
        lay_out(&from, &tree, row)?;
        let mut more = vec!["--event", event];
        let payload = from.join("event.json");
        if let Some(path) = payload.to_str().filter(|_| payload.is_file()) {
            more.extend(["--event-file", path]);
        }
        let tried = attempt(&program, &tree, &more)?;
        // Where it is served at all, the suite's own word is what counts.
        let agrees = match end {
            Green => expected == "success",
            Red => expected == "FAIL" || row == "matrix-with-user-inclusions",
            Refused(_) | Offline | Lacks(_) => true,
        };
        match end {
            Refused(_) | Lacks(_) => refused += 1,
            _ => served += 1,
        }
        if !agrees || !is_as_told(*end, &tried) {
            let (code, said) = (tried.code, &tried.said);
            wrong.push(format!(
                "{row}: {end:?} and {expected}, but exit {code:?}:\n{said}"
            ));
        }
        let parts = SERVED_PARTS.iter().find(|(name, _)| *name == row);
        for job in parts.iter().flat_map(|(_, jobs)| *jobs) {
            without_containers(&tree)?;
            let tried = attempt(&program, &tree, &["--job", job])?;
            if tried.code != Some(0) {
                wrong.push(format!(
                    "{row}, job {job}: {:?}\n{}",
                    tried.code, tried.said
                ));
            }
        }
    }
    println!("{served} rows ran as told, {refused} were refused, or told what they lack");
    assert!(served >= 19, "only {served} rows were served");
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    Ok(())
}

/// Takes the job `check-container` out of the workflow of `tree`.
fn without_containers(tree: &Path) -> Result {
    let path = tree.join(".github/workflows/push.yml");
    let text = std::fs::read_to_string(&path)?;
    let mut kept = String::new();
    let mut inside = false;
    for line in text.lines() {
        let is_job = line.starts_with("  ") && !line.starts_with("   ") && line.contains(':');
        if is_job {
            inside = line.trim_start().starts_with("check-container:");
        }
        if !inside {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    Ok(std::fs::write(path, kept)?)
}

/// A workflow of our own with what it must come to in comments at its top.
struct Tricky {
    name: String,
    ends: i32,
    says: Vec<String>,
    never_says: Vec<String>,
    words: Vec<String>,
}

fn tricky(path: &Path) -> Result<Tricky> {
    let text = std::fs::read_to_string(path)?;
    let told = |key: &str| -> Vec<String> {
        let start = format!("# {key}: ");
        let lines = text.lines().take_while(|line| line.starts_with("# "));
        lines
            .filter_map(|line| line.strip_prefix(&start))
            .map(|told| told.trim_end().to_owned())
            .collect()
    };
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    let ends = told("ends");
    let ends = ends
        .first()
        .ok_or_else(|| format!("{name} has no '# ends:'"))?;
    Ok(Tricky {
        name: name.into_owned(),
        ends: ends.parse()?,
        says: told("says"),
        never_says: told("never says"),
        words: told("word"),
    })
}

/// What the steps printed and the runner remarked, without the scripts as they are shown.
fn printed(said: &str) -> Vec<&str> {
    let shown = ["$ ", "▾ ", "shell: ", "env ", "step '"];
    said.lines()
        .map(|line| line.split_once(" │ ").map_or(line, |(_, text)| text))
        .filter(|line| !shown.iter().any(|start| line.starts_with(start)))
        .collect()
}

#[test]
fn tricky_workflows_of_our_own_end_as_they_say_themselves() -> Result {
    let folder = folder()?;
    let program = Appliance::at(&debug_binary()?, &folder.path().join("none"));
    let (mut count, mut wrong) = (0, Vec::new());
    for file in std::fs::read_dir(workspace()?.join("tests/tricky"))? {
        let file = file?.path();
        if file.extension().is_none_or(|extension| extension != "yml") {
            continue;
        }
        let case = tricky(&file)?;
        let tree = Tree::init(&folder.path().join(&case.name))?;
        let workflows = tree.folder.join(".github/workflows");
        std::fs::create_dir_all(&workflows)?;
        std::fs::copy(&file, workflows.join("w.yml"))?;
        tree.commit("a workflow")?;
        let words: Vec<&str> = case.words.iter().map(String::as_str).collect();
        let tried = attempt(&program, &tree.folder, &words)?;
        let printed = printed(&tried.said);
        let says = |words: &String| printed.iter().any(|line| line.contains(words.as_str()));
        let missing = case.says.iter().filter(|words| !says(words));
        let extra = case.never_says.iter().filter(|words| says(words));
        let odd: Vec<&String> = missing.chain(extra).collect();
        if tried.code != Some(case.ends) || !odd.is_empty() {
            let (name, ends, code, said) = (&case.name, case.ends, tried.code, &tried.said);
            wrong.push(format!(
                "{name}: {odd:?}; must end in {ends}, ended in {code:?}:\n{said}"
            ));
        }
        count += 1;
    }
    println!("{count} workflows were tried");
    assert!(count >= 30, "only {count} workflows were found");
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    Ok(())
}
