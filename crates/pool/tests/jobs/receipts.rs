//! Receipts: each line is true, and changes when the thing it tells of changes.

use sandbox::DefenceOff;
use vocab::Outcome;

use crate::common::{Ran, case, executor, executor_without};

const QUIET: &str = "steps:\n  - run: echo hi\n";

fn without(change: impl FnOnce(&mut DefenceOff)) -> Option<Ran> {
    let mut off = DefenceOff::default();
    change(&mut off);
    Some(case(QUIET).run(&executor_without(off)?))
}

fn missing(ran: &Ran) -> Vec<String> {
    let layers = &ran
        .report
        .receipt
        .as_ref()
        .expect("there was a sandbox")
        .layers;
    layers
        .iter()
        .filter(|l| !l.in_force)
        .map(|l| l.name.clone())
        .collect()
}

#[test]
fn a_quiet_job_has_a_clean_receipt_in_its_log_and_as_json() {
    let Some(executor) = executor() else { return };
    let ran = case(QUIET).secret("TOKEN", "hunter22").run(&executor);
    assert_eq!(ran.report.outcome, Outcome::Success, "{}", ran.log());
    assert!(missing(&ran).is_empty(), "{}", ran.log());
    assert_eq!(ran.receipt("tried to reach"), ["none"]);
    assert_eq!(ran.receipt("left running"), ["none"]);
    assert_eq!(ran.receipt("secrets"), ["TOKEN"]);
    assert!(ran.receipt("residue")[0].starts_with("nothing left behind; searched "));
    assert!(
        ran.receipt("network")[0].ends_with("interfaces: lo"),
        "{}",
        ran.log()
    );
    assert!(ran.receipt("not known").is_empty() && ran.receipt("out of memory").is_empty());

    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let machine = &ran.receipt("machine")[0];
    assert!(
        machine.starts_with(host.trim()) && machine.ends_with(boot.trim()),
        "{machine}"
    );
    assert!(
        ran.receipt("limit").iter().any(|l| l == "memory 512 MiB"),
        "{}",
        ran.log()
    );
    assert!(
        ran.receipt("user ids")[0].starts_with("0 inside is "),
        "{}",
        ran.log()
    );
    assert!(
        !ran.receipt("user ids")[0].starts_with("0 inside is 0 "),
        "{}",
        ran.log()
    );
    assert!(ran.receipt("time")[0].contains(" ms from the queue to the first output"));

    let receipt = ran.report.receipt.clone().unwrap();
    let text = receipt.render_text();
    let last: Vec<&str> = ran
        .heard
        .iter()
        .rev()
        .take(text.len())
        .map(|h| h.text.as_str())
        .collect();
    assert!(
        text.iter().rev().eq(last.iter()),
        "the receipt ends the log"
    );
    let json = serde_json::to_string(&receipt).unwrap();
    assert_eq!(
        serde_json::from_str::<runner::receipt::Receipt>(&json).unwrap(),
        receipt
    );
}

#[test]
fn each_layer_that_is_off_shows() {
    type Case = (fn(&mut DefenceOff), &'static [&'static str]);
    let cases: [Case; 8] = [
        (|off| off.seccomp = true, &["seccomp"]),
        (|off| off.capabilities = true, &["dropped capabilities"]),
        (|off| off.landlock = true, &["landlock"]),
        (|off| off.cgroup = true, &["memory limit", "pids limit"]),
        (|off| off.network_namespace = true, &["network namespace"]),
        (|off| off.pid_namespace = true, &["pid namespace"]),
        (|off| off.user_namespace = true, &["user namespace"]),
        // The other two set it for themselves.
        (
            |off| {
                off.no_new_privs = true;
                off.seccomp = true;
                off.landlock = true;
            },
            &["seccomp", "no_new_privs", "landlock"],
        ),
    ];
    for (change, expected) in cases {
        let Some(ran) = without(change) else { return };
        assert_eq!(missing(&ran), expected, "{}", ran.log());
        let isolation = ran.receipt("isolation");
        assert!(
            isolation
                .iter()
                .any(|l| l.contains(&format!("{}: NOT IN FORCE", expected[0])))
        );
    }
}

#[test]
fn limits_and_ids_are_the_kernels_word() {
    let Some(ran) = without(|off| off.cgroup = true) else {
        return;
    };
    assert!(
        ran.receipt("limit").iter().any(|l| l == "memory unlimited"),
        "{}",
        ran.log()
    );
    let Some(ran) = without(|off| off.user_namespace = true) else {
        return;
    };
    assert!(
        ran.receipt("user ids")[0].starts_with("0 inside is 0 on the host"),
        "{}",
        ran.log()
    );
}

#[test]
fn what_is_left_behind_is_found() {
    let Some(executor) = executor() else { return };
    let mut case = case(QUIET);
    case.plant = true;
    let ran = case.run(&executor);
    let residue = &ran.receipt("residue")[0];
    assert!(
        residue.starts_with("LEFT BEHIND: process ") && residue.contains("sleep"),
        "{residue}"
    );
    let told = ran
        .annotations
        .iter()
        .any(|a| a.message.contains("left something behind"));
    assert!(told, "{:?}", ran.annotations);
}

#[test]
fn tries_to_reach_beyond_the_loopback_are_counted() {
    let Some(executor) = executor() else { return };
    let ran = case(
        r#"steps:
  - shell: python
    run: |
      import socket
      for _ in range(4):
          s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
          try:
              s.sendto(b'x', ('192.0.2.1', 9))
          except OSError as e:
              print(e.errno)
"#,
    )
    .run(&executor);
    assert_eq!(
        ran.receipt("tried to reach"),
        ["4 packets had nowhere to go"],
        "{}",
        ran.log()
    );
}

#[test]
fn peaks_follow_what_the_job_does() {
    let Some(executor) = executor() else { return };
    let quiet = case(QUIET).run(&executor);
    let busy = case(
        "steps:\n  - run: python3 -c 'x = bytearray(100 << 20)'; head -c 20000000 /dev/zero > /tmp/f\n",
    )
    .run(&executor);
    let usage = |ran: &Ran| ran.report.receipt.as_ref().unwrap().usage.clone().unwrap();
    let (quiet, busy) = (usage(&quiet), usage(&busy));
    assert!(busy.memory_peak_bytes > quiet.memory_peak_bytes.map(|b| b + (80 << 20)));
    assert!(
        busy.disk_bytes > quiet.disk_bytes.map(|b| b + 19_000_000),
        "{busy:?}"
    );
}

#[test]
fn a_fork_bomb_is_capped_and_told() {
    let Some(executor) = executor() else { return };
    let mut case = case(
        r#"steps:
  - shell: python
    run: |
      import os, signal
      for _ in range(100):
          try:
              if os.fork() == 0:
                  signal.pause()
          except BlockingIOError:
              print("no more")
              break
"#,
    );
    case.order.limits.pids = 40;
    let ran = case.run(&executor);
    assert_eq!(ran.out(), ["no more"], "{}", ran.log());
    assert!(
        ran.receipt("processes")[0].contains("refused at the limit"),
        "{}",
        ran.log()
    );
    assert!(
        ran.receipt("left running")[0].contains("python"),
        "{}",
        ran.log()
    );
    assert!(
        ran.receipt("residue")[0].starts_with("nothing left behind"),
        "{}",
        ran.log()
    );
}
