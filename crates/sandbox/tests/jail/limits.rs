//! Control groups, rlimits and the size of the writable part, each with its control.

use sandbox::{ExitStatus, Jail, JailSpec, Launcher};

use crate::common::{PROBE, Ran, launcher, run, sh, spec};

fn jail(launcher: &Launcher, change: impl FnOnce(&mut JailSpec)) -> Jail {
    let mut spec = spec();
    change(&mut spec);
    launcher.create(&spec).expect("a jail")
}

fn probe(jail: &Jail, words: &[&str]) -> Ran {
    run(jail, &[&[PROBE, "probe"], words].concat())
}

#[test]
fn a_memory_hog_is_killed_and_reported_and_the_jail_goes_on() {
    let Some(launcher) = launcher() else { return };
    let hog = |off| {
        let jail = jail(&launcher, |s| {
            s.limits.memory_bytes = 64 << 20;
            s.off.cgroup = off;
        });
        (probe(&jail, &["eat", "128"]), jail)
    };
    let (ran, walled) = hog(false);
    assert_eq!(ran.status, ExitStatus::Signal(9));
    let usage = walled.usage().unwrap();
    assert!(usage.oom_kills >= 1, "{usage:?}");
    assert!(usage.memory_peak_bytes.unwrap() <= 64 << 20);
    assert_eq!(sh(&walled, "echo still here").out, "still here\n");
    let facts = walled.facts().unwrap();
    assert_eq!(facts.cgroup.memory_max_bytes, Some(64 << 20));
    let (ran, bare) = hog(true);
    assert_eq!(ran.out, "ok 128\n");
    assert_eq!(bare.usage().unwrap().oom_kills, 0);
    assert_eq!(bare.facts().unwrap().cgroup.memory_max_bytes, None);
}

#[test]
fn a_fork_bomb_is_capped() {
    let Some(launcher) = launcher() else { return };
    // Through a file: the children that stay hold the output open.
    let script = format!("{PROBE} probe fork 200 > /tmp/said 2>&1; cat /tmp/said");
    let walled = jail(&launcher, |_| {});
    let said = sh(&walled, &script).out;
    assert!(said.starts_with("stopped after "), "{said}");
    assert!(walled.usage().unwrap().forks_refused >= 1);
    let residue = walled.destroy().unwrap();
    assert!(residue.is_clean(), "{residue:?}");
    let bare = jail(&launcher, |s| s.off.cgroup = true);
    assert_eq!(sh(&bare, &script).out, "ok\n");
}

#[test]
fn a_large_file_ends_its_writer() {
    let Some(launcher) = launcher() else { return };
    let fill = |off| {
        let jail = jail(&launcher, |s| s.off.rlimits = off);
        probe(&jail, &["fill", "/work/big", "32"])
    };
    assert_eq!(fill(false).status, ExitStatus::Signal(libc::SIGXFSZ));
    assert_eq!(fill(true).out, "ok\n");
}

#[test]
fn the_writable_part_has_a_size() {
    let Some(launcher) = launcher() else { return };
    for path in ["/work/big", "/tmp/big", "/dev/shm/big", "/var/big"] {
        let fill = |off| {
            let jail = jail(&launcher, |s| {
                s.limits.disk_bytes = 8 << 20;
                s.off.disk_limit = off;
            });
            probe(&jail, &["fill", path, "12"]).out
        };
        let said = fill(false);
        assert!(
            said.starts_with("stopped after ") && said.ends_with("errno 28\n"),
            "{said}"
        );
        assert_eq!(fill(true), "ok\n");
    }
}

#[test]
fn many_small_files_stop_too() {
    let Some(launcher) = launcher() else { return };
    let walled = jail(&launcher, |s| s.limits.disk_bytes = 4 << 20);
    let ran = sh(
        &walled,
        "cd /work; for i in $(seq 3000); do : > $i || exit 7; done",
    );
    assert_eq!(ran.status, ExitStatus::Code(2), "{}", ran.out);
}

#[test]
fn processor_time_is_held_to_the_quota() {
    let Some(launcher) = launcher() else { return };
    let walled = jail(&launcher, |s| s.limits.cpu_millis = Some(500));
    assert_eq!(walled.facts().unwrap().cgroup.cpu_millis, Some(500));
    assert_eq!(
        jail(&launcher, |_| {}).facts().unwrap().cgroup.cpu_millis,
        None
    );
}

#[test]
fn jobs_go_first_when_the_host_runs_out_of_memory() {
    let Some(launcher) = launcher() else { return };
    let walled = jail(&launcher, |_| {});
    assert_eq!(sh(&walled, "cat /proc/self/oom_score_adj").out, "500\n");
    let init = format!("/proc/{}/oom_score_adj", walled.init_pid());
    assert_eq!(std::fs::read_to_string(init).unwrap(), "500\n");
}
