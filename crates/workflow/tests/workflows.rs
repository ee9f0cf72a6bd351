//! The public suites of workflow files, where they are at hand.

mod suites;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value as Json};
use workflow::{Data, Diagnostic, Limits, Workflow, parse};

/// Files of the reader suite that are read otherwise on purpose: anchors are served here; `branches`
/// with `branches-ignore` is refused; a comment needs a space before it.
const OTHERWISE: [&str; 3] = [
    "errors-anchor-tag.yml",
    "events-mapping-all.yml",
    "yaml-schema-sequence.yml",
];

/// One file of the reader suite.
struct Case {
    workflow: String,
    max_depth: Option<usize>,
    expected: Json,
}

fn case(path: &Path) -> Option<Case> {
    let text = std::fs::read_to_string(path).expect("a case can be read");
    let parts: Vec<&str> = text.split("\n---\n").collect();
    // Between the workflow and what is expected of it stand the files that it refers to.
    let [options, workflow, expected] = parts.as_slice() else {
        return None;
    };
    let max_depth = options
        .lines()
        .find_map(|line| line.strip_prefix("max-depth: ")?.trim().parse().ok());
    Some(Case {
        workflow: format!("{workflow}\n"),
        max_depth,
        expected: serde_json::from_str(expected).expect("what is expected is JSON"),
    })
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .expect("the folder can be listed")
        .map(|entry| entry.expect("the folder can be listed").path())
        .collect();
    files.sort();
    files
}

fn is_not_served(problem: &Diagnostic) -> bool {
    problem.message.ends_with("is not served yet")
}

/// The `(Line: 1, Col: 2)` of the suite's messages, where they have one.
fn places(expected: &Json) -> BTreeSet<(usize, usize)> {
    let messages = expected["errors"].as_array().into_iter().flatten();
    messages
        .filter_map(|error| {
            let (_, place) = error["Message"].as_str()?.split_once("(Line: ")?;
            let (line, rest) = place.split_once(", Col: ")?;
            Some((line.parse().ok()?, rest.split_once(')')?.0.parse().ok()?))
        })
        .collect()
}

/// The suite's way to write a tree, as plain JSON; `None` if there are expressions in it.
fn plain(token: &Json) -> Option<Json> {
    match token["type"].as_u64() {
        None => Some(token.clone()),
        Some(1) => token["seq"].as_array()?.iter().map(plain).collect(),
        Some(2) => {
            let entries = token["map"]
                .as_array()?
                .iter()
                .map(|entry| Some((entry["Key"].as_str()?.to_owned(), plain(&entry["Value"])?)));
            entries.collect::<Option<Map<_, _>>>().map(Json::Object)
        }
        Some(_) => None,
    }
}

fn same(left: &Json, right: &Json) -> bool {
    match (left, right) {
        (Json::Number(left), Json::Number(right)) => left.as_f64() == right.as_f64(),
        (Json::Array(left), Json::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(l, r)| same(l, r))
        }
        (Json::Object(left), Json::Object(right)) => {
            left.len() == right.len()
                && left
                    .iter()
                    .all(|(key, value)| right.get(key).is_some_and(|r| same(value, r)))
        }
        _ => left == right,
    }
}

fn check_tree(what: &str, data: Option<&Data>, expected: &Json) -> Vec<String> {
    let Some(expected) = plain(expected).filter(|expected| !expected.is_null()) else {
        return Vec::new();
    };
    let got = data.map_or(Json::Null, |data| data.source().to_json());
    if same(&got, &expected) {
        return Vec::new();
    }
    vec![format!("{what} is {got}, not {expected}")]
}

/// How a workflow that was read differs from what the suite expects.
fn differences(workflow: &Workflow, expected: &Json) -> Vec<String> {
    let mut found = check_tree("env", workflow.env.as_ref(), &expected["env"]);
    let jobs = expected["jobs"].as_array().cloned().unwrap_or_default();
    if jobs.len() != workflow.jobs.len() {
        found.push(format!("{} jobs, not {}", workflow.jobs.len(), jobs.len()));
    }
    for (job, expected) in workflow.jobs.iter().zip(&jobs) {
        let matrix = expected["strategy"]["map"]
            .as_array()
            .into_iter()
            .flatten()
            .find(|entry| entry["Key"] == "matrix")
            .map_or(&Json::Null, |entry| &entry["Value"]);
        found.extend(check_tree("matrix", job.strategy.matrix.as_ref(), matrix));
        found.extend(check_tree("job env", job.env.as_ref(), &expected["env"]));
        found.extend(check_tree(
            "runs-on",
            Some(&job.runs_on),
            &expected["runs-on"],
        ));
        let implied = |expected: &Json| {
            expected["expr"]
                .as_str()
                .is_some_and(|expr| expr == "success()" || expr.starts_with("success() && ("))
        };
        let asks = |condition: Option<&workflow::Condition>| {
            condition.is_some_and(workflow::Condition::uses_status)
        };
        if asks(job.condition.as_ref()) == implied(&expected["if"]) {
            found.push(format!("if of {}: {:?}", job.id, job.condition));
        }
        for (step, expected) in job
            .steps
            .iter()
            .zip(expected["steps"].as_array().into_iter().flatten())
        {
            let alone = expected["if"]["expr"] == "success()";
            if !alone && asks(step.condition.as_ref()) == implied(&expected["if"]) {
                found.push(format!("if of a step of {}: {:?}", job.id, step.condition));
            }
        }
    }
    found
}

fn failures_of(path: &Path) -> Option<Vec<String>> {
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .expect("cases have names");
    let case = case(path).filter(|_| !OTHERWISE.contains(&name))?;
    let mut limits = Limits::default();
    if let Some(depth) = case.max_depth {
        limits.depth = depth;
    }
    let must_fail = case.expected["errors"].is_array();
    Some(match parse(name, case.workflow.as_bytes(), &limits) {
        Ok(_) if must_fail => vec![format!("{name} is read, but must not be")],
        Ok(workflow) => differences(&workflow, &case.expected)
            .into_iter()
            .map(|difference| format!("{name}: {difference}"))
            .collect(),
        Err(problems) => {
            let served: Vec<&Diagnostic> = problems
                .iter()
                .filter(|problem| !is_not_served(problem))
                .collect();
            let got: BTreeSet<(usize, usize)> = served
                .iter()
                .map(|problem| (problem.line, problem.column))
                .collect();
            let want = places(&case.expected);
            let told = || format!("{name}: {served:?}, not {want:?}");
            let right = if must_fail {
                !served.is_empty() && (want.is_empty() || got == want)
            } else {
                served.is_empty()
            };
            if right { Vec::new() } else { vec![told()] }
        }
    })
}

#[test]
fn problems_of_the_reader_suite_are_found_where_it_says() {
    let Some(folder) = suites::folder("reader") else {
        return;
    };
    let mut cases = 0;
    let mut failures = Vec::new();
    for found in files(&folder).iter().filter_map(|path| failures_of(path)) {
        cases += 1;
        failures.extend(found);
    }
    println!("{cases} cases of the reader suite");
    assert!(cases > 50, "only {cases} cases");
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn workflows_of_users_are_read_or_refused_by_name() {
    let Some(folder) = suites::folder("act") else {
        return;
    };
    let manifest = std::fs::read_to_string(folder.join("manifest.tsv")).unwrap();
    let (mut read, mut refused) = (0, 0);
    for row in manifest.lines().skip(1) {
        let mut columns = row.split('\t');
        let folder = folder.join(columns.next().unwrap());
        let may_be_wrong = columns.nth(1) == Some("FAIL");
        if !folder.is_dir() {
            continue;
        }
        for path in files(&folder) {
            if !path
                .extension()
                .is_some_and(|end| end == "yml" || end == "yaml")
            {
                continue;
            }
            let name = path.display().to_string();
            match parse(&name, &std::fs::read(&path).unwrap(), &Limits::default()) {
                Ok(_) => read += 1,
                Err(problems) => {
                    refused += 1;
                    assert!(
                        may_be_wrong || problems.iter().all(is_not_served),
                        "{problems:?}"
                    );
                }
            }
        }
    }
    println!("{read} read, {refused} refused by name");
    assert!(read > 30, "only {read} are read");
}
