//! Legs of jobs and what runners are given of them.

use super::*;
use crate::contexts::{GithubContext, Status};
use crate::model::StepAction;
use crate::{Limits, parse};

/// A workflow whose job `a` needs `b` and has these lines.
fn workflow(lines: &str) -> Workflow {
    let lines: String = lines.lines().map(|line| format!("    {line}\n")).collect();
    let text = format!(
        "name: CI\non: push\nenv: {{ W: w }}\npermissions: read-all\njobs:\n  a:\n    needs: b\n{lines}  b:\n    runs-on: x\n"
    );
    parse("w.yml", text.as_bytes(), &Limits::default()).unwrap()
}

fn contexts() -> Contexts {
    let github = GithubContext {
        git_ref: "refs/heads/main".into(),
        ..GithubContext::default()
    };
    let needs = serde_json::json!({
        "b": { "result": "success", "outputs": { "list": "[\"p\",\"q\"]", "one": "{\"os\":[\"deb\"]}" } },
    });
    Contexts::new(Status::SUCCESS)
        .with("github", github.to_value())
        .with("needs", Value::from_json(&needs))
        .with(
            "vars",
            Value::from_json(&serde_json::json!({ "RUNNER": "big" })),
        )
}

fn legs(lines: &str) -> Result<Vec<Leg>, String> {
    let workflow = workflow(lines);
    expand(&workflow, workflow.job("a").unwrap(), &contexts()).map_err(|error| error.to_string())
}

#[test]
fn a_job_without_a_matrix_is_one_leg() {
    let legs = legs("runs-on: ubuntu-latest").unwrap();
    assert_eq!(
        legs,
        [Leg {
            job: "a".into(),
            name: "a".into(),
            matrix: Value::Null,
            index: 0,
            total: 1,
            fail_fast: true,
            max_parallel: None,
            continue_on_error: false,
            timeout_minutes: None,
            runs_on: RunsOn {
                group: None,
                labels: vec!["ubuntu-latest".into()]
            },
            group: None,
        }]
    );
    assert_eq!(
        legs[0].strategy().to_json(),
        serde_json::json!({"fail-fast": true, "job-index": 0, "job-total": 1, "max-parallel": 1})
    );
}

#[test]
fn a_matrix_may_come_from_needs() {
    let names = |lines: &str| -> Vec<String> {
        legs(lines)
            .unwrap()
            .into_iter()
            .map(|leg| leg.name)
            .collect()
    };
    assert_eq!(
        names("runs-on: x\nstrategy: { matrix: { v: \"${{ fromJSON(needs.b.outputs.list) }}\" } }"),
        ["a (p)", "a (q)"]
    );
    assert_eq!(
        names("runs-on: x\nstrategy: { matrix: \"${{ fromJSON(needs.b.outputs.one) }}\" }"),
        ["a (deb)"]
    );
    assert_eq!(
        names(
            "runs-on: x\nstrategy: { matrix: { v: [o, \"${{ fromJSON(needs.b.outputs.list) }}\"] } }"
        ),
        ["a (o)", "a (p)", "a (q)"]
    );
}

#[test]
fn each_leg_has_its_own_values() {
    let legs = legs(concat!(
        "name: test ${{ matrix.v }} of ${{ strategy.job-total }}\n",
        "runs-on: [self-hosted, '${{ matrix.v }}']\n",
        "timeout-minutes: ${{ matrix.v == 'slow' && 90 || 1.5 }}\n",
        "continue-on-error: ${{ matrix.v == 'slow' }}\n",
        "strategy: { fail-fast: false, max-parallel: 1, matrix: { v: [slow, fast] } }",
    ))
    .unwrap();
    assert_eq!(legs[0].name, "test slow of 2");
    assert_eq!(legs[1].runs_on.labels, ["self-hosted", "fast"]);
    assert_eq!(
        (legs[0].timeout_minutes, legs[1].timeout_minutes),
        (Some(90.0), Some(1.5))
    );
    assert!(legs[0].continue_on_error && !legs[1].continue_on_error);
    assert!(!legs[0].fail_fast && legs[0].max_parallel == Some(1));
}

#[test]
fn a_plain_name_is_followed_by_the_values_and_kept_short() {
    let long = "x".repeat(200);
    let legs = legs(&format!(
        "name: Build\nruns-on: x\nstrategy: {{ matrix: {{ v: [1.50, {long}], w: [{{ a: b, c: [d] }}] }} }}"
    ))
    .unwrap();
    assert_eq!(legs[0].name, "Build (1.5, b, d)");
    assert_eq!(legs[1].name.len(), 100);
    assert!(legs[1].name.ends_with("xxx..."));
}

#[test]
fn runs_on_takes_every_form() {
    let runs_on = |lines: &str| legs(lines).unwrap().remove(0).runs_on;
    let labels = |labels: &[&str]| RunsOn {
        group: None,
        labels: labels.iter().map(|label| (*label).to_owned()).collect(),
    };
    assert_eq!(
        runs_on("runs-on: ${{ vars.RUNNER || 'small' }}"),
        labels(&["big"])
    );
    assert_eq!(
        runs_on("runs-on: ${{ fromJSON(needs.b.outputs.list) }}"),
        labels(&["p", "q"])
    );
    assert_eq!(
        runs_on("runs-on: { group: g, labels: [l] }"),
        RunsOn {
            group: Some("g".into()),
            labels: vec!["l".into()]
        }
    );
    assert_eq!(
        runs_on("runs-on: ${{ fromJSON('{\"group\":\"g\"}') }}"),
        RunsOn {
            group: Some("g".into()),
            labels: Vec::new()
        }
    );
}

#[test]
fn what_cannot_be_planned_is_told_with_its_place() {
    for (lines, problem) in [
        (
            "runs-on: ${{ vars.NONE }}",
            "w.yml:8:14: job 'a' cannot be planned: runs-on is empty",
        ),
        (
            "runs-on: ${{ fromJSON('x') }}",
            "runs-on: Error parsing fromJson",
        ),
        (
            "runs-on: x\nstrategy: { matrix: \"${{ fromJSON('[]') }}\" }",
            "w.yml:9:25: matrix of job a is of kind Array; it must be a mapping of lists",
        ),
        (
            "runs-on: x\nstrategy: { matrix: { v: \"${{ fromJSON('[]') }}\" } }",
            "w.yml:9:25: matrix of job a: 'v' does not contain any values",
        ),
        (
            "runs-on: x\ntimeout-minutes: ${{ 0 }}",
            "timeout-minutes must be a number above 0, not '0'",
        ),
        (
            "runs-on: x\nstrategy: { max-parallel: 0 }",
            "max-parallel must be a number from 1, not '0'",
        ),
    ] {
        let error = legs(lines).unwrap_err();
        assert!(error.contains(problem), "{error}");
    }
}

#[test]
fn a_job_runs_when_its_condition_holds() {
    let runs = |lines: &str, status| {
        let workflow = workflow(lines);
        let mut contexts = contexts();
        contexts.set_status(status);
        job_runs(&workflow, workflow.job("a").unwrap(), &contexts)
    };
    assert_eq!(runs("runs-on: x", Status::SUCCESS), Ok(true));
    assert_eq!(runs("runs-on: x", Status::FAILURE), Ok(false));
    assert_eq!(runs("runs-on: x\nif: failure()", Status::FAILURE), Ok(true));
    assert_eq!(
        runs("runs-on: x\nif: github.ref_name == 'MAIN'", Status::SUCCESS),
        Ok(true)
    );
    let error = runs("runs-on: x\nif: fromJSON('')", Status::SUCCESS).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("w.yml:6:3: the condition of job 'a' cannot be")
    );
}

#[test]
fn a_spec_survives_json_and_is_computed_again() {
    let workflow = workflow(concat!(
        "runs-on: x\nenv: { J: '${{ matrix.v }}-${{ github.ref_name }}' }\n",
        "defaults: { run: { shell: bash } }\n",
        "outputs: { o: '${{ steps.s.outputs.r }}' }\n",
        "strategy: { matrix: { v: [1] } }\n",
        "steps:\n  - id: s\n    if: ${{ always() }}\n    run: echo ${{ matrix.v }}\n",
        "  - uses: actions/checkout@v4\n    with: { fetch-depth: 0, clean: true }\n",
    ));
    let job = workflow.job("a").unwrap();
    let leg = expand(&workflow, job, &contexts()).unwrap().remove(0);
    let spec = JobSpec::new(&workflow, job, leg.clone());
    let json = serde_json::to_string(&spec).unwrap();
    let again: JobSpec = serde_json::from_str(&json).unwrap();
    assert_eq!(serde_json::to_string(&again).unwrap(), json);
    let host = contexts().with("matrix", again.leg.matrix.clone());
    let env = again.env.as_ref().unwrap().eval(&host).unwrap().to_json();
    assert_eq!(env, serde_json::json!({ "J": "1-main" }));
    assert_eq!(again.permissions, Some(Permissions::ReadAll));
    let bash = Template::Literal(Value::from("bash"));
    let own = Template::Literal(Value::from("sh"));
    assert_eq!(again.shell(None), Some(&bash));
    assert_eq!(again.shell(Some(&own)), Some(&own));
    assert_eq!(again.working_directory(None), None);
    assert_eq!(again.env_layers().count(), 2);
    let StepAction::Run { script, .. } = &again.steps[0].action else {
        panic!()
    };
    assert_eq!(script.text(&host).unwrap(), "echo 1");
    let StepAction::Uses { with, .. } = &again.steps[1].action else {
        panic!()
    };
    let with = with.as_ref().unwrap().eval(&host).unwrap().to_json();
    assert_eq!(
        with,
        serde_json::json!({ "fetch-depth": "0", "clean": "true" })
    );
    assert_eq!(crate::uses_of(&workflow)[0].uses, "actions/checkout@v4");
    assert_eq!((crate::uses_of(&workflow)[0].step, leg.total), (1, 1));
}

#[test]
fn groups_are_computed_for_each_leg() {
    let lines = "runs-on: x\nstrategy: { matrix: { n: [1, 2] } }\nconcurrency:\n  \
                 group: ' ${{ github.ref_name }}-${{ matrix.n }} '\n  \
                 cancel-in-progress: ${{ matrix.n == 2 }}\n  queue: max\nsteps: [{ run: a }]\n";
    let groups: Vec<Group> = legs(lines)
        .unwrap()
        .into_iter()
        .flat_map(|l| l.group)
        .collect();
    let group = |name: &str, cancel_in_progress| Group {
        name: name.into(),
        cancel_in_progress,
        keep_all: true,
    };
    assert_eq!(groups, [group("main-1", false), group("main-2", true)]);
    let empty = "runs-on: x\nconcurrency: ${{ github.head_ref }}\nsteps: [{ run: a }]\n";
    assert!(legs(empty).unwrap_err().contains("group is empty"));
    let long = "runs-on: x\nconcurrency: ${{ format('{0}{0}{0}{0}', vars.LONG) }}\n";
    assert!(legs(long).unwrap_err().contains("group is empty"));
}

#[test]
fn a_run_has_the_name_and_the_group_that_its_workflow_computes() {
    let read = |top: &str| {
        let text = format!("on: push\n{top}\njobs: {{ a: {{ runs-on: x }} }}\n");
        parse("w.yml", text.as_bytes(), &Limits::default()).unwrap()
    };
    let named = read("run-name: \"On  ${{ github.ref_name }}\\n\"\nconcurrency: one");
    let name = run_name(&named, &contexts()).unwrap();
    assert_eq!(name.as_deref(), Some("On main"));
    let group = run_group(&named, &contexts()).unwrap().unwrap();
    assert_eq!((group.name.as_str(), group.keep_all), ("one", false));
    let plain = read("");
    assert_eq!(run_name(&plain, &contexts()).unwrap(), None);
    assert_eq!(run_group(&plain, &contexts()).unwrap(), None);
    let wrong = read("run-name: ${{ fromJSON(github.ref) }}");
    let error = run_name(&wrong, &contexts()).unwrap_err().to_string();
    assert!(error.contains("run-name cannot be computed"), "{error}");
}
