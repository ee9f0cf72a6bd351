//! How jobs end: time limits, cancellation, memory, what is left running, much output.

use std::time::Duration;

use runner::{Grace, LineKind};
use vocab::Outcome;

use crate::common::{case, executor};

fn quick() -> Grace {
    Grace {
        interrupt: Duration::from_millis(50),
        terminate: Duration::from_millis(50),
        cleanup: Duration::from_secs(60),
    }
}

#[test]
fn a_step_that_runs_past_its_time_is_ended_and_the_job_fails() {
    let Some(executor) = executor() else { return };
    let mut case = case(
        r#"steps:
  - { id: slow, timeout-minutes: 0.002, run: "trap '' INT TERM; while :; do sleep 100; done" }
  - { id: after, if: always(), run: echo after }
"#,
    );
    case.order.grace = quick();
    let ran = case.run(&executor);
    assert_eq!(ran.report.outcome, Outcome::Failure);
    assert_eq!(ran.step("slow").outcome, Outcome::Failure);
    assert!(
        ran.step("slow").reason.contains("timeout-minutes"),
        "{}",
        ran.log()
    );
    assert_eq!(ran.out(), ["after"], "{}", ran.log());
}

#[test]
fn a_job_that_runs_past_its_time_is_timed_out_after_its_clean_up() {
    let Some(executor) = executor() else { return };
    let mut case = case(
        r#"steps:
  - { id: slow, run: sleep 1000 }
  - { id: no, run: echo no }
  - { id: clean, if: always(), run: echo cleaned up }
"#,
    );
    case.order.limits.timeout = Duration::from_millis(300);
    case.order.grace = quick();
    let ran = case.run(&executor);
    assert_eq!(ran.report.outcome, Outcome::TimedOut, "{}", ran.log());
    assert_eq!(ran.step("slow").outcome, Outcome::TimedOut);
    assert_eq!(ran.out(), ["cleaned up"], "{}", ran.log());
}

#[test]
fn cancelling_interrupts_first_and_still_cleans_up() {
    let Some(executor) = executor() else { return };
    let mut case = case(
        r#"steps:
  - { id: polite, run: "trap 'echo got INT; exit 130' INT; echo ready; while :; do sleep 0.01; done" }
  - { id: no, run: echo no }
  - { id: told, if: cancelled(), run: "echo told ${{ job.status }}" }
  - { id: always, if: always(), run: echo always }
  - { id: fail, if: failure(), run: echo failure }
"#,
    );
    case.cancel_at = Some("ready");
    let ran = case.run(&executor);
    assert_eq!(ran.report.outcome, Outcome::Cancelled, "{}", ran.log());
    assert_eq!(ran.report.reason, "cancelled by dev");
    assert_eq!(
        ran.out(),
        ["ready", "got INT", "told cancelled", "always"],
        "{}",
        ran.log()
    );
    assert_eq!(ran.step("polite").outcome, Outcome::Cancelled);
}

#[test]
fn what_does_not_listen_is_killed_when_cancelled() {
    let Some(executor) = executor() else { return };
    let mut case = case(
        r#"steps:
  - { id: deaf, run: "trap '' INT TERM; echo ready; while :; do sleep 100; done" }
"#,
    );
    case.order.grace = quick();
    case.cancel_at = Some("ready");
    let ran = case.run(&executor);
    assert_eq!(ran.report.outcome, Outcome::Cancelled, "{}", ran.log());
}

#[test]
fn want_of_memory_is_told_from_other_failures() {
    let Some(executor) = executor() else { return };
    let mut case = case(
        r#"steps:
  - id: hog
    run: python3 -c 'x = bytearray(400 << 20); print(len(x))'
  - { id: plain, if: always(), run: exit 137 }
"#,
    );
    case.order.limits.memory_bytes = 128 << 20;
    let ran = case.run(&executor);
    assert_eq!(ran.report.outcome, Outcome::Failure, "{}", ran.log());
    assert!(
        ran.step("hog").reason.contains("out of memory"),
        "{}",
        ran.log()
    );
    assert!(!ran.receipt("out of memory").is_empty(), "{}", ran.log());
    assert!(
        !ran.step("plain").reason.contains("out of memory"),
        "{}",
        ran.log()
    );
}

#[test]
fn programs_left_running_serve_later_steps_and_end_with_the_job() {
    let Some(executor) = executor() else { return };
    let ran = case(
        r#"steps:
  - id: start
    run: |
      mkfifo /tmp/go
      (read x < /tmp/go; echo "background heard $x"; exec sleep 98765) &
      echo started
  - { id: use, run: "echo hello > /tmp/go; while ! pgrep -f 'sleep 98765' >/dev/null; do sleep 0.01; done" }
"#,
    )
    .run(&executor);
    assert_eq!(ran.report.outcome, Outcome::Success, "{}", ran.log());
    let heard = ran
        .heard
        .iter()
        .find(|h| h.text == "background heard hello")
        .expect("its output");
    assert_eq!((heard.step, heard.kind), (1, LineKind::Out));
    let left = ran.receipt("left running");
    assert!(left[0].contains("sleep 98765"), "{left:?}");
    assert!(
        ran.receipt("residue")[0].starts_with("nothing left behind"),
        "{}",
        ran.log()
    );
}

#[test]
fn long_lines_and_odd_bytes_come_through_in_bounded_pieces() {
    let Some(executor) = executor() else { return };
    let ran = case(
        r#"steps:
  - run: |
      head -c 200000 /dev/zero | tr '\0' x
      printf '\nprogress 1\rprogress 2\r\nbad \377 byte\nno end'
"#,
    )
    .run(&executor);
    let out = ran.out();
    let (long, rest): (Vec<&str>, Vec<&str>) = out.iter().partition(|l| l.starts_with('x'));
    assert_eq!(long.iter().map(|l| l.len()).sum::<usize>(), 200_000);
    assert!(long.iter().all(|l| l.len() <= 64 * 1024));
    assert_eq!(
        rest,
        ["progress 1", "progress 2", "bad \u{fffd} byte", "no end"]
    );
}

#[test]
fn much_output_is_counted_and_drained_to_its_end() {
    let Some(executor) = executor() else { return };
    let ran =
        case("steps:\n  - run: yes 0123456789012345678901234567890123456789 | head -c 30000000\n")
            .run(&executor);
    assert_eq!(ran.report.outcome, Outcome::Success);
    let size = ran.report.receipt.as_ref().unwrap().log;
    assert!(size.bytes > 29_000_000 && size.lines > 700_000, "{size:?}");
}
