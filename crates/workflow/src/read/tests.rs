//! What a workflow file may say, and every problem with its place.

use super::*;
use crate::model::{Access, InputKind, PatternFilter, Permissions, StepAction};

fn read(text: &str) -> Workflow {
    parse("w.yml", text.as_bytes(), &Limits::default()).unwrap_or_else(|problems| {
        panic!(
            "{}",
            problems
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join("\n")
        )
    })
}

fn problems(text: &str) -> Vec<String> {
    match parse("w.yml", text.as_bytes(), &Limits::default()) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.iter().map(ToString::to_string).collect(),
    }
}

/// One job `a` with these lines, which start at line 4, column 5.
fn job(lines: &str) -> String {
    let lines: String = lines.lines().map(|line| format!("    {line}\n")).collect();
    format!("on: push\njobs:\n  a:\n{lines}")
}

#[test]
fn a_whole_workflow_is_understood() {
    let workflow = read(concat!(
        "name: CI\nrun-name: run of ${{ github.actor }}\n",
        "on:\n  push: { branches: [main, 'rel/*'], paths-ignore: ['**.md'] }\n",
        "  pull_request: { branches: main }\n  schedule: [{ cron: '0 1 * * *' }]\n",
        "  workflow_dispatch:\n    inputs:\n      level: { type: choice, options: [a, b] }\n",
        "permissions: { contents: write, id-token: none }\n",
        "env: { A: 1.50, B: true, C: null }\ndefaults: { run: { shell: sh } }\n",
        "concurrency: { group: 'g-${{ github.ref }}', cancel-in-progress: true }\n",
        "jobs:\n  build:\n    name: Build\n    runs-on: [self-hosted, linux]\n",
        "    outputs: { v: '${{ steps.s.outputs.v }}' }\n    timeout-minutes: 5\n",
        "    steps:\n      - uses: actions/checkout@v4\n        with: { fetch-depth: 0 }\n",
        "      - id: s\n        run: |\n          echo hi\n        shell: bash\n        if: ${{ !cancelled() }}\n",
        "  test:\n    needs: BUILD\n    if: success('build')\n    runs-on: { group: big, labels: x }\n",
        "    strategy: { fail-fast: false, max-parallel: 2, matrix: { v: [1, 2] } }\n",
        "    continue-on-error: ${{ matrix.v == 2 }}\n    steps: [{ run: make }]\n",
    ));
    assert_eq!(workflow.display_name(), "CI");
    let push = workflow.on.push.as_ref().unwrap();
    assert_eq!(
        push.branches,
        PatternFilter::Only(vec!["main".into(), "rel/*".into()])
    );
    assert_eq!(push.paths, PatternFilter::Ignore(vec!["**.md".into()]));
    let unserved: Vec<&str> = workflow
        .unserved_events()
        .iter()
        .map(|e| e.name.as_str())
        .collect();
    assert_eq!(unserved, ["pull_request", "schedule"]);
    let inputs = &workflow.on.workflow_dispatch.as_ref().unwrap().inputs;
    assert_eq!(
        inputs[0].kind,
        InputKind::Choice(vec!["a".into(), "b".into()])
    );
    let Some(Permissions::Each(each)) = &workflow.permissions else {
        panic!()
    };
    assert_eq!(each["contents"], Access::Write);
    let env = workflow.env.as_ref().unwrap().source().to_json();
    assert_eq!(env, serde_json::json!({ "A": "1.5", "B": "true", "C": "" }));
    let build = workflow.job("build").unwrap();
    assert!(
        matches!(&build.steps[0].action, StepAction::Uses { uses, .. } if uses == "actions/checkout@v4")
    );
    assert!(build.steps[1].condition.as_ref().unwrap().uses_status());
    assert_eq!(
        (build.steps[1].position.line, build.steps[1].position.column),
        (23, 9)
    );
    let test = workflow.job("test").unwrap();
    assert_eq!(test.needs, ["build"]);
    assert_eq!(workflow.ancestors("test"), ["build"]);
    let json = serde_json::to_string(&workflow).unwrap();
    let again: Workflow = serde_json::from_str(&json).unwrap();
    assert_eq!(serde_json::to_string(&again).unwrap(), json);
}

#[test]
fn every_problem_of_a_file_is_told_in_its_order() {
    assert_eq!(
        problems(concat!(
            "on: { push: { branchs: [x] } }\njob: {}\njobs:\n  1st:\n    runs-on: x\n    stps: []\n",
            "  b:\n    needs: [c, B2]\n    steps:\n      - run: a\n        uses: o/r@v\n",
            "      - name: only ${{ secrets. }}\n",
        )),
        [
            "w.yml:1:15: unknown key 'branchs' in on.push; did you mean 'branches'?",
            "w.yml:2:1: unknown key 'job' in a workflow; did you mean 'jobs'?",
            "w.yml:4:3: the identifier '1st' is invalid; use letters, digits, '-' and '_', a letter \
             or '_' first, fewer than 100 in all",
            "w.yml:6:5: unknown key 'stps' in job '1st'; did you mean 'steps'?",
            "w.yml:8:5: job 'b' has no 'runs-on'; it is required",
            "w.yml:8:13: job 'b' needs 'c', which is no job here; did you mean 'b'?",
            "w.yml:8:16: job 'b' needs 'B2', which is no job here; did you mean 'b'?",
            "w.yml:11:9: a step with 'run' cannot have this too; make it two steps",
            "w.yml:12:9: the step does nothing: it has neither 'run' nor 'uses'",
            "w.yml:12:15: Unexpected end of expression: '.'. Located at position 8 within \
             expression: secrets.",
        ]
    );
}

#[test]
fn wrong_values_are_told_with_their_place() {
    for (text, problem) in [
        ("jobs: {}\n", "w.yml:1:1: the workflow has no 'on'"),
        ("on: push\n", "w.yml:1:1: the workflow has no 'jobs'"),
        (
            "on: push\njobs: {}\n",
            "w.yml:2:7: the workflow has no jobs",
        ),
        (
            "on: push\njobs: []\n",
            "w.yml:2:7: jobs must be a mapping, not a list",
        ),
        (
            "- x\n",
            "w.yml:1:1: a workflow must be a mapping, not a list",
        ),
        (
            "on: puhs\n",
            "w.yml:1:5: unknown event 'puhs'; did you mean 'push'?",
        ),
        (
            "on: [push, {}]\n",
            "w.yml:1:12: an event must be text that is not empty, not a mapping",
        ),
        ("on: []\n", "w.yml:1:5: 'on' names no event"),
        (
            "on: { push: { tags: ['['] } }\n",
            "w.yml:1:22: pattern '[' has a '[' without a ']'",
        ),
        (
            "on: { push: { tags: [a], tags-ignore: [b] } }\n",
            "w.yml:1:26: 'tags' and 'tags-ignore' cannot be used together",
        ),
        (
            "on: { workflow_dispatch: { input: 1 } }\n",
            "w.yml:1:28: unknown key 'input'",
        ),
        (
            "on: { workflow_dispatch: { inputs: { a: { type: chioce } } } }\n",
            "w.yml:1:49: type cannot be 'chioce'; did you mean 'choice'?",
        ),
        (
            "on: { workflow_dispatch: { inputs: { a: { type: choice } } } }\n",
            "w.yml:1:41: input 'a' is a choice without options",
        ),
        (
            "on: { workflow_dispatch: { inputs: { a: { type: boolean, default: yes } } } }\n",
            "w.yml:1:67: default of input 'a' must be true or false, not 'yes'",
        ),
        (
            "on: { schedule: [{ corn: x }] }\n",
            "w.yml:1:20: unknown key 'corn' in on.schedule; did you",
        ),
        (
            "name: ${{ github.ref }}\n",
            "w.yml:1:7: an expression is not allowed here",
        ),
        (
            "permissions: { content: read }\n",
            "w.yml:1:16: unknown key 'content' in permissions; did",
        ),
        (
            "permissions: { contents: all }\n",
            "w.yml:1:26: permission 'contents' cannot be 'all'",
        ),
        (
            "permissions: write\n",
            "w.yml:1:14: permissions cannot be 'write'; it can be read-all",
        ),
        (
            "env: { A: [1] }\n",
            "w.yml:1:11: 'A' in env must be text, not a list",
        ),
        (
            "env: { A: '${{ needs.x }}' }\n",
            "contexts that can be used here: github, inputs, vars, secrets",
        ),
        (
            "concurrency: { cancel-in-progress: true }\n",
            "w.yml:1:14: concurrency has no 'group'",
        ),
        (
            "defaults: { run: { shel: x } }\n",
            "w.yml:1:20: unknown key 'shel' in defaults.run; did you mean 'shell'?",
        ),
    ] {
        let told = problems(text).join("\n");
        assert!(told.contains(problem), "{text}{told}");
    }
}

#[test]
fn wrong_values_in_a_job_are_told_with_their_place() {
    for (lines, problem) in [
        (
            "steps: []",
            "w.yml:4:5: job 'a' has no 'runs-on'; it is required",
        ),
        ("runs-on: []", "w.yml:4:14: runs-on is empty"),
        (
            "runs-on: ''",
            "w.yml:4:14: runs-on must be text that is not empty, not ''",
        ),
        (
            "runs-on: x\ntimeout-minutes: '5'",
            "w.yml:5:22: timeout-minutes must be a number, not '5'",
        ),
        (
            "runs-on: x\ncontinue-on-error: maybe",
            "w.yml:5:24: continue-on-error must be true or false",
        ),
        (
            "runs-on: x\nif: secrets.x",
            "w.yml:5:9: Unrecognized named-value: 'secrets'. Located at position 1 within expression: secrets.x; contexts that can be used here: github, inputs, vars, needs",
        ),
        (
            "runs-on: x\nif: ${{ env.A }}",
            "Unrecognized named-value: 'env'",
        ),
        (
            "runs-on: x\nstrategy: { matrix: { os: [] } }",
            "w.yml:5:31: matrix 'os' does not contain any values",
        ),
        (
            "runs-on: x\nstrategy: { matrix: { os: linux } }",
            "w.yml:5:31: matrix 'os' must be a list, not 'linux'",
        ),
        (
            "runs-on: x\nstrategy: { matrix: { os: [1], exclude: [{ b: 1 }] } }",
            "w.yml:5:25: matrix of job a: exclude names 'b'",
        ),
        (
            "runs-on: x\ncontainer: alpine",
            "w.yml:5:5: 'container' of job 'a' is not served yet",
        ),
        (
            "runs-on: x\nservices: { db: { image: pg, porst: [] } }",
            "w.yml:5:5: 'services' of job 'a' is not served yet",
        ),
        (
            "runs-on: x\nservices: { db: { image: pg, porst: [] } }",
            "w.yml:5:34: unknown key 'porst' in a service; did you mean 'ports'?",
        ),
        (
            "runs-on: x\nenvironment: prod",
            "w.yml:5:5: 'environment' of job 'a' is not served yet",
        ),
        (
            "uses: ./.github/workflows/x.yml",
            "w.yml:4:5: 'uses' of job 'a' is not served yet",
        ),
        (
            "runs-on: x\nuses: ./x",
            "w.yml:5:5: unknown key 'uses' in job 'a'",
        ),
        (
            "runs-on: x\nsteps: { run: x }",
            "w.yml:5:12: steps must be a list, not a mapping",
        ),
        (
            "runs-on: x\nsteps: [{ shell: sh }]",
            "w.yml:5:13: the step does nothing",
        ),
        (
            "runs-on: x\nsteps: [{ run: x, with: { a: b } }]",
            "w.yml:5:23: a step with 'run' cannot have 'with'",
        ),
        (
            "runs-on: x\nsteps: [{ uses: o/r@v, shell: sh }]",
            "w.yml:5:28: a step with 'uses' cannot have 'shell'",
        ),
        (
            "runs-on: x\nsteps: [{ uses: checkout }]",
            "w.yml:5:21: 'checkout' names no action; write owner/repo",
        ),
        (
            "runs-on: x\nsteps: [{ id: a.b, run: x }]",
            "w.yml:5:19: the identifier 'a.b' is invalid",
        ),
        (
            "runs-on: x\nsteps: [{ id: s, run: x }, { id: S, run: y }]",
            "w.yml:5:38: the step id 'S' is used twice",
        ),
        ("runs-on: x\nsteps: [{ id: __s, run: x }]", "is reserved"),
        (
            "runs-on: x\nsteps: [{ run: x, background: true }]",
            "'background' of a step is not served yet",
        ),
        (
            "runs-on: x\nsteps: [{ run: x, if: \"success('a')\" }]",
            "Too many parameters supplied: 'success'",
        ),
        (
            "runs-on: x\nneeds: a",
            "w.yml:3:3: jobs wait for each other for ever: a → a",
        ),
    ] {
        let text = job(lines);
        let told = problems(&text).join("\n");
        assert!(told.contains(problem), "{text}{told}");
    }
}

#[test]
fn an_expression_on_a_far_line_names_that_line() {
    let text = job("runs-on: x\nsteps:\n  - run: |\n      one\n      two ${{ nope() }}\n");
    assert_eq!(
        problems(&text),
        [
            "w.yml:6:14: Unrecognized function: 'nope'. Located at position 1 within expression: \
          nope() (on line 8)"
        ]
    );
}

#[test]
fn circles_of_needs_are_named() {
    let text = "on: push\njobs:\n  x: {runs-on: l}\n  a: {runs-on: l, needs: [c, x]}\n  b: {runs-on: l, needs: a}\n  c: {runs-on: l, needs: b}\n  d: {runs-on: l, needs: c}\n";
    assert_eq!(
        problems(text),
        ["w.yml:4:3: jobs wait for each other for ever: a → c → b → a; remove one of these needs"]
    );
}

#[test]
fn a_matrix_of_a_thousand_legs_is_refused_when_it_is_read() {
    let list = (0..10)
        .map(|n| n.to_string())
        .collect::<Vec<_>>()
        .join(", ");
    let matrix = format!("matrix: {{ a: [{list}], b: [{list}], c: [{list}] }}");
    assert_eq!(
        problems(&job(&format!("runs-on: x\nstrategy: {{ {matrix} }}"))),
        ["w.yml:5:25: matrix of job a makes 1,000 legs; the limit is 256"]
    );
}

#[test]
fn what_is_surely_not_meant_is_a_warning() {
    let workflow = read(&job(
        "runs-on: x\nif: ${{ github.ref }} == 'x'\nsteps: [{ run: x }]",
    ));
    assert_eq!(
        workflow.warnings[0].to_string(),
        "w.yml:5:9: if is always true: text stands around its ${{ }}; put all of it into one \
         ${{ }}, or leave ${{ }} out"
    );
    let negative = "on: { push: { branches: ['!x'] } }\njobs: { a: { runs-on: x } }\n";
    assert!(
        read(negative).warnings[0]
            .message
            .contains("takes back but never picks")
    );
}

#[test]
fn events_that_are_not_served_are_noticed_and_not_refused() {
    let workflow = read("on: [push, fork]\njobs: { a: { runs-on: x } }\n");
    assert_eq!(
        workflow.notices()[0].to_string(),
        "w.yml:1:12: event 'fork' is not served yet; it does not start this workflow here"
    );
}

#[test]
fn a_workflow_has_at_most_256_jobs() {
    let jobs = |count: usize| -> String {
        let jobs: String = (0..count)
            .map(|n| format!("  j{n}: {{ runs-on: x }}\n"))
            .collect();
        format!("on: push\njobs:\n{jobs}")
    };
    assert_eq!(read(&jobs(256)).jobs.len(), 256);
    assert_eq!(
        problems(&jobs(257)),
        ["w.yml:3:3: the workflow has 257 jobs; the limit is 256"]
    );
}

#[test]
fn no_input_makes_the_reader_panic() {
    let seed = concat!(
        "name: &n x\non: {push: {branches: [a*, '!b?', '[c-d]+']}, schedule: [{cron: '* * * * *'}]}\n",
        "env: {<<: {a: 1}, b: *n}\njobs:\n  a:\n    runs-on: ${{ matrix.os }}\n    needs: [b]\n",
        "    if: ${{ always() && 'x' }}\n    strategy:\n      matrix:\n        os: [1, 0x2, '${{ inputs.x }}']\n",
        "        include: [{os: 3, k: '|'}]\n    steps:\n      - run: >-\n          ${{ format('{0}', 1) }}\n",
        "      - uses: a/b@c\n        with: {k: !!str v}\n  b: {runs-on: x, steps: [{run: y}]}\n",
    );
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % u64::try_from(below).unwrap()).unwrap()
    };
    let bits: Vec<&[u8]> = vec![
        b"${{",
        b"}}",
        b"'",
        b"\"",
        b":",
        b"- ",
        b"\n",
        b"  ",
        b"[",
        b"]",
        b"{",
        b"}",
        b"&n ",
        b"*n",
        b"!!int ",
        b"<<: ",
        b"|",
        b">",
        b"#",
        b"\xff",
        b"\0",
        b"\xef\xbb\xbf",
        b"\t",
        b"---\n",
        b"%",
    ];
    let mut read = 0;
    for _ in 0..6_000 {
        let mut bytes = seed.as_bytes().to_vec();
        for _ in 0..=random(6) {
            let at = random(bytes.len() + 1);
            match random(3) {
                0 => {
                    let end = (at + random(12)).min(bytes.len());
                    bytes.drain(at..end);
                }
                1 => {
                    let bit = bits[random(bits.len())];
                    bytes.splice(at..at, bit.iter().copied());
                }
                _ => {
                    let from = random(bytes.len() + 1);
                    let to = (from + random(40)).min(bytes.len());
                    let copy = bytes[from..to].to_vec();
                    bytes.splice(at..at, copy);
                }
            }
        }
        match parse("f.yml", &bytes, &Limits::default()) {
            Ok(_) => read += 1,
            Err(problems) => assert!(!problems.is_empty()),
        }
    }
    assert!(read > 100, "the changes break nearly everything: {read}");
}
