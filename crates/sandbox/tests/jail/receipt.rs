//! The facts for a receipt change when the layer they tell of is off.

use sandbox::{Jail, JailSpec, Launcher};

use crate::common::{launcher, probe, run, sh, spec};

fn jail(launcher: &Launcher, change: impl FnOnce(&mut JailSpec)) -> Jail {
    let mut spec = spec();
    change(&mut spec);
    launcher.create(&spec).expect("a jail")
}

const ALL: [&str; 13] = [
    "user namespace",
    "mount namespace",
    "pid namespace",
    "network namespace",
    "ipc namespace",
    "uts namespace",
    "cgroup namespace",
    "seccomp",
    "dropped capabilities",
    "no_new_privs",
    "landlock",
    "memory limit",
    "pids limit",
];

#[test]
fn every_layer_is_in_force_and_each_can_be_seen_missing() {
    let Some(launcher) = launcher() else { return };
    let in_force = |change: fn(&mut JailSpec)| {
        let facts = jail(&launcher, change).facts().unwrap();
        facts
            .layers_in_force()
            .into_iter()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(in_force(|_| {}), ALL);
    let missing = |change: fn(&mut JailSpec)| {
        let found = in_force(change);
        ALL.into_iter()
            .filter(|l| !found.iter().any(|f| f == l))
            .collect::<Vec<_>>()
    };
    assert_eq!(missing(|s| s.off.user_namespace = true), ["user namespace"]);
    assert_eq!(missing(|s| s.off.pid_namespace = true), ["pid namespace"]);
    assert_eq!(
        missing(|s| s.off.network_namespace = true),
        ["network namespace"]
    );
    assert_eq!(missing(|s| s.off.seccomp = true), ["seccomp"]);
    assert_eq!(
        missing(|s| s.off.capabilities = true),
        ["dropped capabilities"]
    );
    assert_eq!(missing(|s| s.off.landlock = true), ["landlock"]);
    assert_eq!(
        missing(|s| s.off.cgroup = true),
        ["memory limit", "pids limit"]
    );
    let bare = |s: &mut JailSpec| {
        s.off.no_new_privs = true;
        s.off.seccomp = true;
        s.off.landlock = true;
    };
    assert_eq!(missing(bare), ["seccomp", "no_new_privs", "landlock"]);
}

#[test]
fn a_jail_from_the_warm_pool_is_like_any_other() {
    if launcher().is_none() {
        return;
    }
    let config = sandbox::LauncherConfig {
        warm: 2,
        ..crate::common::config()
    };
    let launcher = Launcher::start(&config).unwrap();
    let mut bases = Vec::new();
    for round in 0..6 {
        let jail = jail(&launcher, |s| s.limits.pids = 20 + round);
        let facts = jail.facts().unwrap();
        assert_eq!(facts.layers_in_force(), ALL);
        assert_eq!(facts.uid_map[0].outside, jail.id_base());
        assert_eq!(facts.cgroup.pids_max, Some(u64::from(20 + round)));
        assert_eq!(
            sh(&jail, "hostname; cat /work/* 2>/dev/null; echo x > /work/x").out,
            "job\n"
        );
        bases.push(jail.id_base());
        let residue = jail.destroy().unwrap();
        assert!(residue.is_clean(), "{residue:?}");
    }
    // Two were ready before the first was asked for, so the slots alternate.
    assert_ne!(bases[0], bases[1]);
}

#[test]
fn facts_name_the_image_the_limits_and_the_masks() {
    let Some(launcher) = launcher() else { return };
    let facts = jail(&launcher, |_| {}).facts().unwrap();
    assert_eq!(facts.layers, ["host /usr"]);
    assert_eq!(facts.rlimits["Max file size"], 16 << 20);
    assert_eq!(facts.rlimits["Max core file size"], 1);
    assert_eq!(facts.cgroup.pids_max, Some(64));
    assert!(facts.masked.iter().any(|m| m == "/proc/keys"));
    let usr = facts.mounts.iter().find(|m| m.target == "/usr").unwrap();
    assert!(usr.read_only);
    let json = serde_json::to_string(&facts).unwrap();
    assert_eq!(
        serde_json::from_str::<sandbox::Facts>(&json).unwrap(),
        facts
    );
}

#[test]
fn attempts_at_the_network_are_counted() {
    let Some(launcher) = launcher() else { return };
    let quiet = jail(&launcher, |_| {});
    assert_eq!(quiet.usage().unwrap().network_attempts, 0);
    let eager = jail(&launcher, |_| {});
    for _ in 0..3 {
        probe(&eager, &["connect", "192.0.2.1", "80"]);
    }
    probe(&eager, &["connect", "2001:db8::1", "80"]);
    assert_eq!(eager.usage().unwrap().network_attempts, 4);
    let residue = eager.destroy().unwrap();
    assert_eq!(residue.usage.network_attempts, 4);
}

#[test]
fn use_is_measured() {
    let Some(launcher) = launcher() else { return };
    let jail = jail(&launcher, |_| {});
    let before = jail.usage().unwrap();
    sh(&jail, "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done");
    run(
        &jail,
        &[
            "dd",
            "if=/dev/zero",
            "of=/work/f",
            "bs=1M",
            "count=8",
            "status=none",
        ],
    );
    let after = jail.usage().unwrap();
    assert!(after.cpu_ns > before.cpu_ns);
    assert!(after.disk_bytes >= before.disk_bytes + (8 << 20));
    assert!(after.memory_peak_bytes.unwrap() >= 8 << 20);
}
