//! Steps: contexts, environment, command files, shells, conditions, secrets.

use vocab::Outcome;

use crate::common::{case, executor, workflow};

#[test]
fn steps_hand_values_on_by_their_files_and_contexts() {
    let Some(executor) = executor() else { return };
    let ran = workflow(
        r##"
on: push
env: { A: workflow, B: workflow, C: workflow }
jobs:
  j:
    runs-on: x
    env: { B: job, C: job }
    outputs:
      sum: ${{ steps.one.outputs.x }}-${{ steps.one.outputs.multi }}
      env: ${{ env.A }} ${{ env.B }} ${{ env.LATER }}
      skipped: ${{ steps.skipped.outcome }} ${{ steps.skipped.conclusion }}
      secret: ${{ secrets.TOKEN }}
    steps:
      - id: one
        env: { C: step }
        run: |
          echo "$A $B $C ${{ env.C }} ${{ vars.COLOUR }} ${{ github.repository }}"
          echo "x=1" >> "$GITHUB_OUTPUT"
          printf 'multi<<EOF\na\nb\nEOF\n' >> "$GITHUB_OUTPUT"
          echo "::set-output name=old::yes"
          echo "LATER=from-env" >> "$GITHUB_ENV"
          mkdir -p bin && printf '#!/bin/sh\necho tool runs\n' > bin/my-tool && chmod +x bin/my-tool
          echo "$PWD/bin" >> "$GITHUB_PATH"
          echo "# Summary of $TOKEN" >> "$GITHUB_STEP_SUMMARY"
      - { id: skipped, if: false, run: exit 1 }
      - id: two
        run: |
          my-tool
          echo "$LATER ${{ env.LATER }} [${{ steps.one.outputs.x }}] [${{ steps.one.outputs.old }}]"
          echo "${{ steps.one.outcome }} ${{ job.status }} ${{ runner.os }} $RUNNER_OS $CI"
          test "$PWD" = "$GITHUB_WORKSPACE" && echo "in $GITHUB_WORKSPACE"
          python3 -c 'import json,os; print(json.load(open(os.environ["GITHUB_EVENT_PATH"]))["after"])'
"##,
    )
    .secret("TOKEN", "hunter22")
    .run(&executor);
    assert_eq!(ran.report.outcome, Outcome::Success, "{}", ran.log());
    assert_eq!(
        ran.out(),
        [
            "workflow job step step blue lab/tasks-app",
            "tool runs",
            "from-env from-env [1] [yes]",
            "success success Linux Linux true",
            "in /work/tasks-app/tasks-app",
            "0123",
        ],
        "{}",
        ran.log()
    );
    let outputs: Vec<(&str, &str)> = ran
        .report
        .outputs
        .iter()
        .map(|(n, v)| (n.as_str(), v.as_str()))
        .collect();
    let expected = [
        ("sum", "1-a\nb"),
        ("env", "workflow job from-env"),
        ("skipped", "skipped skipped"),
    ];
    assert_eq!(outputs, expected);
    assert_eq!(ran.step("one").summary, "# Summary of \n");
    let kept_back = ran
        .annotations
        .iter()
        .any(|a| a.message.contains("'secret'"));
    assert!(kept_back, "{:?}", ran.annotations);
}

#[test]
fn conditions_decide_after_a_failure() {
    let Some(executor) = executor() else { return };
    let ran = case(
        r#"steps:
  - { id: forgiven, run: exit 3, continue-on-error: true }
  - { id: ok, run: "echo ${{ steps.forgiven.outcome }} ${{ steps.forgiven.conclusion }}" }
  - { id: bad, run: exit 7 }
  - { id: no, run: echo no }
  - { id: failed, if: failure(), run: "echo ${{ job.status }}" }
  - { id: always, if: always(), run: echo always }
  - { id: never, if: cancelled(), run: echo never }
  - { id: bad-if, if: "always() && fromJSON('{')", run: echo x }
"#,
    )
    .run(&executor);
    assert_eq!(ran.report.outcome, Outcome::Failure);
    assert_eq!(ran.report.reason, "step 'Run exit 7': exit code 7");
    assert_eq!(
        ran.out(),
        ["failure success", "failure", "always"],
        "{}",
        ran.log()
    );
    assert_eq!(ran.step("bad").exit_code, Some(7));
    assert_eq!(ran.step("forgiven").exit_code, Some(3));
    assert_eq!(ran.step("no").conclusion, Outcome::Skipped);
    assert_eq!(ran.step("never").conclusion, Outcome::Skipped);
    assert!(
        ran.step("bad-if")
            .reason
            .contains("its if cannot be computed")
    );
}

#[test]
fn each_shell_runs_its_scripts() {
    let Some(executor) = executor() else { return };
    let ran = case(
        r#"defaults: { run: { working-directory: /tmp } }
steps:
  - { run: 'echo "$BASH_VERSION" | grep -q . && pwd' }
  - { shell: sh, run: "false | true; echo sh goes on" }
  - { shell: python, run: "import os; print('python', os.getcwd())", working-directory: . }
  - { shell: "cat {0}", run: as it is }
  - { id: pipe, shell: bash, continue-on-error: true, run: "false | true" }
  - { id: foreign, shell: cmd, continue-on-error: true, run: dir }
  - { id: missing, shell: "no-such-shell {0}", continue-on-error: true, run: x }
  - { id: nowhere, working-directory: not/there, continue-on-error: true, run: pwd }
"#,
    )
    .run(&executor);
    let expected = [
        "/tmp",
        "sh goes on",
        "python /work/tasks-app/tasks-app",
        "as it is",
    ];
    assert_eq!(ran.out(), expected, "{}", ran.log());
    assert_eq!(ran.step("pipe").exit_code, Some(1));
    assert!(
        ran.step("foreign").reason.contains("Windows"),
        "{:?}",
        ran.step("foreign")
    );
    assert!(
        ran.step("missing").reason.contains("no-such-shell"),
        "{:?}",
        ran.step("missing")
    );
    assert!(
        ran.step("nowhere").reason.contains("not/there"),
        "{:?}",
        ran.step("nowhere")
    );
}

#[test]
fn secrets_reach_the_step_and_never_the_log() {
    let Some(executor) = executor() else { return };
    let pem = "-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSj\nAgEAAoIBAQC7\n-----END KEY-----";
    let ran = case(
        r#"steps:
  - id: use
    env: { TOKEN: "${{ secrets.TOKEN }}", KEY: "${{ secrets.KEY }}" }
    run: |
      test "${#TOKEN}" = 13 && echo "it is $TOKEN"
      printf '%s' "$TOKEN" | base64
      printf 'user:%s' "$TOKEN" | base64
      printf '%s' "$TOKEN" | od -An -tx1 | tr -d ' \n'; echo
      printf '%s' "${TOKEN%22*}"; sleep 0.01; echo "${TOKEN#hunter}"
      printf '%s\033[1m%s\033[0m\n' "${TOKEN%22*}" "${TOKEN#hunter}"
      echo "$KEY"
      echo "::warning file=$TOKEN.c::$TOKEN"
      echo "::error::${KEY}"
      echo "name of step ${{ secrets.TOKEN }}" >> "$GITHUB_STEP_SUMMARY"
      sh -c 'while :; do sleep 1000; done' "x$TOKEN" &
      printf '::add-mask::%s-to-hide\n' more
      printf '%s-to-hide\n' more >&2
"#,
    )
    .secret("TOKEN", "hunter22 & co")
    .secret("KEY", pem)
    .run(&executor);
    let everything = format!(
        "{}\n{}\n{:?}",
        ran.log(),
        serde_json::to_string(&ran.report).unwrap(),
        ran.annotations
    );
    assert!(everything.contains("it is ***"), "{everything}");
    assert!(
        ran.receipt("left running")[0].contains("done x***"),
        "{everything}"
    );
    for hidden in [
        "hunter22",
        "22 & co",
        "aHVudGVyMjI",
        "68756e74657232",
        "MIIEvQ",
        "AgEAAo",
        "more-to-hide",
    ] {
        assert!(!everything.contains(hidden), "{hidden} in {everything}");
    }
    assert_eq!(
        ran.report.receipt.as_ref().unwrap().secrets,
        ["TOKEN", "KEY"]
    );
}

#[test]
fn hash_files_looks_at_the_workspace() {
    let Some(executor) = executor() else { return };
    let ran = case(
        r#"steps:
  - run: mkdir -p a && printf abc > a/x.txt && printf abc > y.txt && printf z > z.md
  - run: echo "[${{ hashFiles('**/*.txt') }}] [${{ hashFiles('nope') }}]"
"#,
    )
    .run(&executor);
    // SHA-256 over twice the SHA-256 of "abc".
    let twice = vocab::Digest::of(b"abc").as_bytes().repeat(2);
    let expected = format!("[{}] []", vocab::Digest::of(&twice).hex());
    assert_eq!(ran.out(), [expected], "{}", ran.log());
}

#[test]
fn bad_command_files_fail_the_step_and_say_where() {
    let Some(executor) = executor() else { return };
    let ran = case(
        r#"steps:
  - { id: shape, continue-on-error: true, run: 'printf "a=1\nnonsense\n" >> "$GITHUB_OUTPUT"' }
  - { id: node, continue-on-error: true, run: 'echo NODE_OPTIONS=--require=x >> "$GITHUB_ENV"' }
  - { id: printed, continue-on-error: true, run: 'echo "::set-env name=LD_PRELOAD::/x"' }
  - { id: huge, continue-on-error: true, run: 'head -c 9000000 /dev/zero >> "$GITHUB_OUTPUT"' }
  - { id: summary, run: 'head -c 1100000 /dev/zero | tr "\0" x >> "$GITHUB_STEP_SUMMARY"' }
  - { id: linked, run: 'ln -sf /etc/hostname "$GITHUB_STEP_SUMMARY"' }
"#,
    )
    .run(&executor);
    assert!(
        ran.step("shape").reason.contains("line 2 of GITHUB_OUTPUT"),
        "{}",
        ran.log()
    );
    assert!(
        ran.step("node").reason.contains("NODE_OPTIONS"),
        "{}",
        ran.log()
    );
    assert!(
        ran.step("printed").reason.contains("set-env is refused"),
        "{}",
        ran.log()
    );
    assert!(
        ran.step("huge").reason.contains("GITHUB_OUTPUT is larger"),
        "{}",
        ran.log()
    );
    assert_eq!(ran.step("summary").conclusion, Outcome::Success);
    assert_eq!(ran.step("summary").summary, "");
    assert!(
        ran.log().contains("the summary is left out"),
        "{}",
        ran.log()
    );
    // Whatever a job links there, it can only show itself its own sandbox.
    assert!(ran.step("linked").summary.len() < 100);
}
