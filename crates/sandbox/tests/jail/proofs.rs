//! What each layer of isolation stops, and that the same probe succeeds without the layer.

use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::process::Command;

use sandbox::{ExecSpec, ExitStatus, Jail, JailSpec, Launcher};

use crate::common::{HOST, PROBE, launcher, probe, run_as, sh, spec};

/// A jail like `spec` with a change.
fn jail(launcher: &Launcher, change: impl FnOnce(&mut JailSpec)) -> Jail {
    let mut spec = spec();
    change(&mut spec);
    launcher.create(&spec).expect("a jail")
}

/// A command that stays; its process id in the jail.
fn stay(jail: &Jail) -> u32 {
    let argv = ["sleep", "1000"].map(String::from).to_vec();
    jail.exec(ExecSpec {
        argv,
        ..ExecSpec::default()
    })
    .expect("sleep starts")
    .pid()
}

#[test]
fn the_user_namespace_maps_root_to_the_slots_ids() {
    let Some(launcher) = launcher() else { return };
    let walled = jail(&launcher, |_| {});
    let facts = walled.facts().unwrap();
    assert_eq!(
        (facts.uid_map[0].inside, facts.uid_map[0].outside),
        (0, walled.id_base())
    );
    assert_eq!(facts.gid_map, facts.uid_map);
    assert_eq!(facts.uid_map.len(), 1);
    let bare = jail(&launcher, |s| s.off.user_namespace = true);
    let facts = bare.facts().unwrap();
    assert_eq!((facts.uid_map[0].inside, facts.uid_map[0].outside), (0, 0));
    assert!(!facts.layers_in_force().contains(&"user namespace"));
}

#[test]
fn the_mount_namespace_hides_the_hosts_files() {
    let Some(launcher) = launcher() else { return };
    let marker = tempfile::NamedTempFile::new().unwrap();
    rustix::fs::chmod(marker.path(), rustix::fs::Mode::from_raw_mode(0o644)).unwrap();
    let test = format!("test -e {} && echo seen", marker.path().display());
    assert_eq!(sh(&jail(&launcher, |_| {}), &test).out, "");
    let bare = jail(&launcher, |s| {
        s.off.pivot = true;
        // The host's temporary directory is open to its own users only.
        s.off.user_namespace = true;
    });
    assert_eq!(sh(&bare, &test).out, "seen\n");
}

#[test]
fn the_pid_namespace_shows_only_the_jobs_processes() {
    let Some(launcher) = launcher() else { return };
    let count = "set -- /proc/[0-9]*; echo $#";
    let walled = jail(&launcher, |_| {});
    // init and sh.
    assert_eq!(sh(&walled, count).out, "2\n");
    let test = format!("test -e /proc/{} && echo seen", std::process::id());
    assert_eq!(sh(&walled, &test).out, "");
    let bare = jail(&launcher, |s| s.off.pid_namespace = true);
    assert_eq!(sh(&bare, &test).out, "seen\n");
}

#[test]
fn init_cannot_be_killed_from_inside() {
    let Some(launcher) = launcher() else { return };
    let walled = jail(&launcher, |_| {});
    probe(&walled, &["signal", "1", "9"]);
    probe(&walled, &["signal", "1", "19"]);
    assert_eq!(probe(&walled, &["euid"]), "euid 0");
    let bare = jail(&launcher, |s| {
        s.off.pid_namespace = true;
        s.off.init_guard = true;
    });
    let pid = bare.init_pid().to_string();
    let argv = [PROBE, "probe", "signal", pid.as_str(), "9"]
        .map(String::from)
        .to_vec();
    match bare.exec(ExecSpec {
        argv,
        ..ExecSpec::default()
    }) {
        Ok(exec) => assert_eq!(exec.wait(None), Some(ExitStatus::JailLost)),
        Err(e) => assert_eq!(e, sandbox::ExecError::JailLost),
    }
}

#[test]
fn init_cannot_be_traced_read_or_starved() {
    let Some(launcher) = launcher() else { return };
    let walled = jail(&launcher, |_| {});
    for words in [["ptrace", "1"], ["read-memory", "1"], ["prlimit", "1"]] {
        let said = probe(&walled, &words);
        assert!(said == "errno 1" || said == "errno 13", "{words:?}: {said}");
    }
    for path in [
        "/proc/1/fd",
        "/proc/1/root/",
        "/proc/1/cwd/",
        "/proc/1/map_files",
    ] {
        assert!(
            !sh(&walled, &format!("ls {path}")).status.success(),
            "{path}"
        );
    }
    assert!(!sh(&walled, "cat /proc/1/environ").status.success());
    // The guard off: a job with all capabilities in its namespace owns its init.
    let bare = jail(&launcher, |s| {
        s.off.init_guard = true;
        s.off.capabilities = true;
        s.off.landlock = true;
    });
    assert_eq!(probe(&bare, &["ptrace", "1"]), "ok");
    assert!(sh(&bare, "ls /proc/1/root/").status.success());
    // With one descriptor allowed init fails, and the jail with it.
    let argv = [PROBE, "probe", "prlimit", "1"].map(String::from).to_vec();
    let exec = bare
        .exec(ExecSpec {
            argv,
            ..ExecSpec::default()
        })
        .unwrap();
    exec.wait(None);
    let next = bare.exec(ExecSpec {
        argv: vec!["true".into()],
        ..ExecSpec::default()
    });
    assert!(
        matches!(next, Err(sandbox::ExecError::JailLost)),
        "{next:?}"
    );
    // With the guard on, all capabilities do not help.
    let guarded = jail(&launcher, |s| {
        s.off.capabilities = true;
        s.off.landlock = true;
    });
    for words in [["ptrace", "1"], ["read-memory", "1"]] {
        let said = probe(&guarded, &words);
        assert!(said == "errno 1" || said == "errno 13", "{words:?}: {said}");
    }
    assert!(!sh(&guarded, "ls /proc/1/fd").status.success());
}

#[test]
fn a_command_has_no_descriptor_to_forge_an_exit_report_with() {
    let Some(launcher) = launcher() else { return };
    let walled = jail(&launcher, |_| {});
    // ls itself opens the fourth.
    assert_eq!(sh(&walled, "ls /proc/self/fd").out, "0\n1\n2\n3\n");
    assert!(walled.view().unwrap().descriptors.is_empty());
}

#[test]
fn the_network_namespace_has_only_loopback() {
    let Some(launcher) = launcher() else { return };
    let host = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = host.local_addr().unwrap().port().to_string();
    let words = ["connect", "127.0.0.1", port.as_str()];
    let walled = jail(&launcher, |_| {});
    assert_eq!(probe(&walled, &words), "errno 111");
    assert_eq!(probe(&walled, &["connect", "192.0.2.1", "80"]), "errno 101");
    assert_eq!(walled.facts().unwrap().interfaces, ["lo"]);
    let bare = jail(&launcher, |s| s.off.network_namespace = true);
    assert_eq!(probe(&bare, &words), "ok");
    assert!(
        !bare
            .facts()
            .unwrap()
            .layers_in_force()
            .contains(&"network namespace")
    );
}

#[test]
fn seccomp_refuses_what_a_job_does_not_need() {
    let Some(launcher) = launcher() else { return };
    let tries: [(&[&str], &str); 6] = [
        (&["unshare", "268435456"], "errno 1"),
        (&["personality"], "errno 1"),
        (&["socket", "40"], "errno 97"),
        (&["io-uring"], "errno 38"),
        (&["keyctl"], "errno 1"),
        (&["process-vm-readv", "self"], "errno 1"),
    ];
    // Landlock keeps the commands of one jail apart as well.
    let walled = jail(&launcher, |s| s.off.landlock = true);
    let bare = jail(&launcher, |s| {
        s.off.landlock = true;
        s.off.seccomp = true;
    });
    let (theirs, own) = (stay(&walled).to_string(), stay(&bare).to_string());
    for (words, answer) in tries {
        let with = |pid: &str| -> Vec<String> {
            words
                .iter()
                .map(|w| if *w == "self" { pid } else { w }.to_owned())
                .collect()
        };
        let said = |jail: &Jail, pid: &str| {
            let words = with(pid);
            probe(jail, &words.iter().map(String::as_str).collect::<Vec<_>>())
        };
        assert_eq!(said(&walled, &theirs), answer, "{words:?}");
        let control = said(&bare, &own);
        assert!(
            control == "ok" || words[0].starts_with("process-vm"),
            "{words:?}: {control}"
        );
        // Without the filter the call itself judges the address, not the permission.
        assert_ne!(control, answer, "{words:?}");
    }
}

#[test]
fn seccomp_refuses_bpf() {
    let Some(launcher) = launcher() else { return };
    assert_eq!(probe(&jail(&launcher, |_| {}), &["bpf"]), "errno 1");
    // The host's own rules on bpf stand in the way of the control unless it is nearly root.
    let bare = |seccomp| {
        jail(&launcher, |s| {
            s.off.user_namespace = true;
            s.off.capabilities = true;
            s.off.seccomp = seccomp;
        })
    };
    assert_eq!(probe(&bare(false), &["bpf"]), "errno 1");
    assert_eq!(probe(&bare(true), &["bpf"]), "ok");
}

#[test]
fn seccomp_ends_a_process_that_enters_by_another_architecture() {
    let Some(launcher) = launcher() else { return };
    let run = |seccomp| {
        let jail = jail(&launcher, |s| s.off.seccomp = seccomp);
        crate::common::run(&jail, &[PROBE, "probe", "int80"])
    };
    assert_eq!(run(false).status, ExitStatus::Signal(libc::SIGSYS));
    assert!(run(true).status.success());
}

#[test]
fn tracing_works_among_a_jobs_own_processes() {
    let Some(launcher) = launcher() else { return };
    let walled = jail(&launcher, |s| s.off.landlock = true);
    let own = stay(&walled).to_string();
    assert_eq!(probe(&walled, &["ptrace", &own]), "ok");
}

#[test]
fn capabilities_are_as_listed_and_make_no_devices() {
    let Some(launcher) = launcher() else { return };
    let listed = [
        "chown",
        "dac_override",
        "fowner",
        "fsetid",
        "kill",
        "setgid",
        "setuid",
        "net_bind_service",
        "sys_chroot",
        "setfcap",
    ];
    let walled = jail(&launcher, |_| {});
    assert_eq!(walled.facts().unwrap().capabilities, listed);
    // The user namespace stops it too; without that, the capabilities alone decide.
    let nearly = |capabilities| {
        jail(&launcher, |s| {
            s.off.user_namespace = true;
            s.off.landlock = true;
            s.off.capabilities = capabilities;
        })
    };
    assert_eq!(probe(&nearly(false), &["mknod", "block"]), "errno 1");
    let bare = nearly(true);
    assert_eq!(probe(&bare, &["mknod", "block"]), "ok");
    assert!(
        !bare
            .facts()
            .unwrap()
            .layers_in_force()
            .contains(&"dropped capabilities")
    );
}

#[test]
fn jobs_of_two_slots_cannot_signal_each_other() {
    let Some(launcher) = launcher() else { return };
    // Even one that has left its pid namespace, as a process of the host would be.
    let signal = |from: &Jail, to: &Jail| {
        let victim = children_of(to.init_pid());
        let id = from.facts().unwrap().uid_map[0].outside;
        let program = tempfile::Builder::new()
            .tempfile_in("/tmp")
            .unwrap()
            .into_temp_path();
        std::fs::copy(HOST, &program).unwrap();
        rustix::fs::chmod(&*program, rustix::fs::Mode::from_raw_mode(0o755)).unwrap();
        let output = Command::new(&program)
            .args(["probe", "signal", &victim.to_string(), "0"])
            .uid(id)
            .gid(id)
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let (a, b) = (jail(&launcher, |_| {}), jail(&launcher, |_| {}));
    assert_ne!(a.id_base(), b.id_base());
    stay(&b);
    assert_eq!(signal(&a, &b), "errno 1");
    let (a, b) = (
        jail(&launcher, |s| s.off.slot_ids = true),
        jail(&launcher, |s| s.off.slot_ids = true),
    );
    stay(&b);
    assert_eq!(signal(&a, &b), "ok");
}

/// The first child of a process, by the host's numbers.
fn children_of(pid: u32) -> u32 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))
        .expect("a live process with a child");
    text.split_whitespace()
        .next()
        .expect("a live process with a child")
        .parse()
        .expect("a live process with a child")
}

#[test]
fn no_new_privs_keeps_a_setuid_program_unprivileged() {
    let Some(launcher) = launcher() else { return };
    let euid = |off| {
        let jail = jail(&launcher, |s| {
            // These two need no_new_privs, or privileges that a job does not have.
            s.off.seccomp = true;
            s.off.landlock = true;
            s.off.no_new_privs = off;
        });
        sh(
            &jail,
            &format!("cp {PROBE} /work/suid; chmod 4755 /work/suid"),
        );
        run_as(&jail, 1000, &["/work/suid", "probe", "euid"]).out
    };
    assert_eq!(euid(false), "euid 1000\n");
    assert_eq!(euid(true), "euid 0\n");
}

#[test]
fn landlock_refuses_paths_outside_the_rules() {
    let Some(launcher) = launcher() else { return };
    let with_rules = |off| {
        jail(&launcher, |s| {
            s.off.landlock = off;
            s.landlock.write_below = Some(vec!["/work".into(), "/tmp".into()]);
        })
    };
    let (walled, bare) = (with_rules(false), with_rules(true));
    assert_eq!(probe(&walled, &["write", "/work/x"]), "ok");
    assert_eq!(probe(&walled, &["write", "/etc/x"]), "errno 13");
    assert_eq!(probe(&bare, &["write", "/etc/x"]), "ok");
    assert!(walled.facts().unwrap().landlock.enforced);
    assert!(!bare.facts().unwrap().landlock.enforced);
}

#[test]
fn landlock_refuses_ports_outside_the_rules() {
    let Some(launcher) = launcher() else { return };
    let with_rules = |off| {
        jail(&launcher, |s| {
            s.off.landlock = off;
            s.landlock.connect_ports = Some(vec![8080]);
            s.landlock.bind_ports = Some(vec![9090]);
        })
    };
    let (walled, bare) = (with_rules(false), with_rules(true));
    if bare.facts().unwrap().landlock.abi < 4 {
        // Rules that the kernel cannot keep start nothing, rather than being left out in silence.
        let argv = vec!["true".to_owned()];
        let refused = walled
            .exec(ExecSpec {
                argv,
                ..ExecSpec::default()
            })
            .unwrap_err();
        assert!(
            refused.to_string().contains("need Landlock ABI 4"),
            "{refused}"
        );
        return;
    }
    assert_eq!(probe(&walled, &["listen", "9090"]), "ok");
    assert_eq!(
        probe(&walled, &["connect", "127.0.0.1", "8080"]),
        "errno 111"
    );
    for (words, control) in [
        (&["listen", "9091"][..], "ok"),
        (&["connect", "127.0.0.1", "8081"][..], "errno 111"),
    ] {
        assert_eq!(probe(&walled, words), "errno 13", "{words:?}");
        assert_eq!(probe(&bare, words), control, "{words:?}");
    }
    assert!(walled.facts().unwrap().landlock.ports);
}

#[test]
fn landlock_refuses_device_nodes_even_to_the_capable() {
    let Some(launcher) = launcher() else { return };
    let capable = |landlock| {
        jail(&launcher, |s| {
            s.off.user_namespace = true;
            s.off.capabilities = true;
            s.off.landlock = landlock;
        })
    };
    assert_eq!(probe(&capable(false), &["mknod", "block"]), "errno 13");
    assert_eq!(probe(&capable(true), &["mknod", "block"]), "ok");
}

#[test]
fn the_kernels_own_files_are_masked_or_read_only() {
    let Some(launcher) = launcher() else { return };
    let walled = jail(&launcher, |_| {});
    assert_eq!(sh(&walled, "cat /proc/keys | wc -c").out, "0\n");
    assert_ne!(std::fs::read("/proc/keys").unwrap(), b"", "control");
    assert_eq!(
        probe(&walled, &["write", "/proc/sys/kernel/msgmax"]),
        "errno 30"
    );
    assert_eq!(probe(&walled, &["write", "/dev/anything"]), "errno 30");
    assert_eq!(probe(&walled, &["write", "/usr/anything"]), "errno 30");
    // A mask that could be taken off would be none.
    assert_eq!(probe(&walled, &["umount", "/proc/keys"]), "errno 1");
    let seccomp_off = jail(&launcher, |s| s.off.seccomp = true);
    assert_eq!(probe(&seccomp_off, &["umount", "/proc/keys"]), "errno 1");
    let bare = jail(&launcher, |s| {
        s.off.seccomp = true;
        s.off.capabilities = true;
        s.off.landlock = true;
    });
    assert_eq!(probe(&bare, &["umount", "/proc/keys"]), "ok");
}

#[test]
fn layers_are_left_out_only_by_a_launcher_for_tests() {
    if launcher().is_none() {
        return;
    }
    let config = sandbox::LauncherConfig {
        allow_controls: false,
        ..crate::common::config()
    };
    let launcher = Launcher::start(&config).unwrap();
    let mut spec = spec();
    spec.off.seccomp = true;
    assert!(matches!(
        launcher.create(&spec),
        Err(sandbox::CreateError::Refused { .. })
    ));
}

#[test]
fn the_view_from_inside_finds_every_attempt_denied() {
    let Some(launcher) = launcher() else { return };
    let view = jail(&launcher, |_| {}).view().unwrap();
    for attempt in &view.attempts {
        assert!(attempt.denied, "{attempt:?}");
    }
    assert_eq!(view.interfaces, ["lo"]);
    assert_eq!(view.processes.len(), 2, "{:?}", view.processes);
    assert!(
        view.devices
            .iter()
            .all(|d| !d.contains("sd") && !d.contains("kmsg"))
    );
    let bare = jail(&launcher, |s| {
        s.off.seccomp = true;
        s.off.capabilities = true;
        s.off.landlock = true;
    });
    let worked = bare
        .view()
        .unwrap()
        .attempts
        .iter()
        .filter(|a| !a.denied)
        .count();
    assert!(worked >= 2, "{worked}");
}
