//! Nothing outlives a jail; what is planted is found; nothing outlives the launcher.

use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags, Signal};
use sandbox::{ExecSpec, Jail, Launcher};

use crate::common::{config, launcher, sh, spec};

#[test]
fn what_one_job_leaves_is_absent_in_the_next() {
    let Some(_) = launcher() else { return };
    // One slot only, so that the second jail has the ids of the first.
    let config = sandbox::LauncherConfig {
        slots: 1,
        id_base: 0x6ff0_0000,
        ..config()
    };
    let launcher = Launcher::start(&config).unwrap();
    let leave = "touch /work/m /tmp/m /dev/shm/m /var/tmp/m /m; mkdir -p /var/spool/cron; \
                 echo '* * * * * root true' > /etc/crontab; sleep 1000 & ipcmk -S 3";
    let look = "ls /work/m /tmp/m /dev/shm/m /var/tmp/m /m /etc/crontab 2>/dev/null; \
                set -- /proc/[0-9]*; echo $#; grep -c . /proc/sysvipc/sem";
    let first = launcher.create(&spec()).unwrap();
    sh(&first, &format!("({leave}) >/dev/null 2>&1"));
    let seen = sh(&first, look).out;
    assert!(
        seen.starts_with("/dev/shm/m\n/etc/crontab\n/m\n/tmp/m\n"),
        "control: {seen}"
    );
    assert!(seen.ends_with("3\n2\n"), "control: {seen}");
    let base = first.id_base();
    let residue = first.destroy().unwrap();
    assert!(residue.is_clean(), "{residue:?}");
    let second = create_when_free(&launcher);
    assert_eq!(second.id_base(), base);
    assert_eq!(sh(&second, look).out, "2\n1\n");
}

/// The slot is free once the search's process is reaped, a moment after its answer.
fn create_when_free(launcher: &Launcher) -> Jail {
    loop {
        match launcher.create(&spec()) {
            Err(sandbox::CreateError::NoSlot { .. }) => {}
            other => return other.expect("a jail"),
        }
    }
}

/// A process that ends with the test.
struct Planted(Child);

impl Drop for Planted {
    fn drop(&mut self) {
        self.0.kill().expect("it is ours");
        self.0.wait().expect("it is ours");
    }
}

fn plant(command: &mut Command) -> Planted {
    Planted(
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("it starts"),
    )
}

#[test]
fn a_planted_process_is_found() {
    let Some(launcher) = launcher() else { return };
    let jail = launcher.create(&spec()).unwrap();
    let id = jail.id_base() + 5;
    let planted = plant(Command::new("sleep").arg("1000").uid(id).gid(id));
    let residue = jail.destroy().unwrap();
    assert!(!residue.is_clean());
    let pid = format!("{} ", planted.0.id());
    assert!(
        residue.processes.iter().any(|p| p.starts_with(&pid)),
        "{residue:?}"
    );
    // A slot in which something was left is not used again.
    let next = launcher.create(&spec()).unwrap();
    assert_ne!(next.id_base(), id - 5);
}

#[test]
fn a_planted_mount_is_found() {
    let Some(launcher) = launcher() else { return };
    let jail = launcher.create(&spec()).unwrap();
    let namespace = format!("--mount=/proc/{}/ns/mnt", jail.init_pid());
    let planted = plant(Command::new("nsenter").args([namespace.as_str(), "/bin/sleep", "1000"]));
    // nsenter enters before it becomes sleep.
    let comm = format!("/proc/{}/comm", planted.0.id());
    while std::fs::read_to_string(&comm).unwrap() != "sleep\n" {}
    let residue = jail.destroy().unwrap();
    assert!(!residue.mounts.is_empty(), "{residue:?}");
}

#[test]
fn a_planted_file_and_a_planted_group_are_found() {
    let Some(launcher) = launcher() else { return };
    let jail = launcher.create(&spec()).unwrap();
    let file = tempfile::Builder::new().tempfile_in("/tmp").unwrap();
    std::os::unix::fs::chown(file.path(), Some(jail.id_base() + 1), None).unwrap();
    let text = std::fs::read_to_string(format!("/proc/{}/cgroup", jail.init_pid())).unwrap();
    let group = text.lines().find_map(|l| {
        let mut parts = l.splitn(3, ':');
        let (id, names, path) = (parts.next()?, parts.next()?, parts.next()?);
        match (id, names) {
            (_, "pids") => Some(format!("/sys/fs/cgroup/pids{path}")),
            ("0", _) if path.ends_with("/init") => {
                Some(format!("/sys/fs/cgroup{}", path.trim_end_matches("/init")))
            }
            _ => None,
        }
    });
    let planted = format!("{}/planted/deeper", group.unwrap());
    std::fs::create_dir_all(&planted).unwrap();
    let residue = jail.destroy().unwrap();
    assert_eq!(residue.paths, [file.path().display().to_string()]);
    assert_eq!(residue.cgroups.len(), 1, "{residue:?}");
    for dir in std::path::Path::new(&planted).ancestors().take(3) {
        match std::fs::remove_dir(dir) {
            // Another test's launcher has swept it already.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            other => other.unwrap(),
        }
    }
}

/// Waits until a process that lives now has ended; a minute is far more than that takes.
pub(crate) fn wait_end(pid: u32) -> impl FnOnce() {
    const PATIENCE: Timespec = Timespec {
        tv_sec: 60,
        tv_nsec: 0,
    };
    let pid = Pid::from_raw(i32::try_from(pid).expect("a live process")).expect("a live process");
    let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty()).expect("a live process");
    move || {
        let mut polled = [PollFd::new(&pidfd, PollFlags::IN)];
        let ended = rustix::event::poll(&mut polled, Some(&PATIENCE)).expect("a live process");
        assert_eq!(ended, 1, "process {pid:?} lives on");
    }
}

fn kill(pid: u32) {
    let pid = Pid::from_raw(i32::try_from(pid).expect("a live process")).expect("a live process");
    rustix::process::kill_process(pid, Signal::KILL).expect("a live process");
}

#[test]
fn killing_the_launcher_ends_every_job() {
    let Some(launcher) = launcher() else { return };
    let jail = launcher.create(&spec()).unwrap();
    let argv = ["sleep", "1000"].map(String::from).to_vec();
    let exec = jail
        .exec(ExecSpec {
            argv,
            ..ExecSpec::default()
        })
        .unwrap();
    let init_ends = wait_end(jail.init_pid());
    kill(launcher.pid().unwrap());
    init_ends();
    assert_eq!(exec.wait(None), Some(sandbox::ExitStatus::JailLost));
    // The control: without the layer the jail goes on without its launcher.
    let bare_launcher = Launcher::start(&config()).unwrap();
    let mut spec = spec();
    spec.off.parent_death = true;
    let bare = bare_launcher.create(&spec).unwrap();
    let launcher_ends = wait_end(bare_launcher.pid().unwrap());
    kill(bare_launcher.pid().unwrap());
    launcher_ends();
    assert_eq!(sh(&bare, "echo alive").out, "alive\n");
    let init_ends = wait_end(bare.init_pid());
    kill(bare.init_pid());
    init_ends();
}

#[test]
fn groups_of_a_killed_launcher_are_swept_by_the_next() {
    let Some(_) = launcher() else { return };
    // A range of its own, so that no other test's jail takes the old one's place.
    let own = sandbox::LauncherConfig {
        slots: 1,
        id_base: 0x6fc0_0000,
        ..config()
    };
    let launcher = Launcher::start(&own).unwrap();
    let jail = launcher.create(&spec()).unwrap();
    let facts = jail.facts().unwrap();
    let mount = if facts.cgroup.version == "v2" {
        ""
    } else {
        "/memory"
    };
    let group = format!("/sys/fs/cgroup{mount}{}", facts.cgroup.path);
    let init_ends = wait_end(jail.init_pid());
    kill(launcher.pid().unwrap());
    init_ends();
    assert!(std::fs::exists(&group).unwrap());
    let config = sandbox::LauncherConfig {
        slots: 1,
        id_base: 0x6fd0_0000,
        ..config()
    };
    let next = Launcher::start(&config).unwrap();
    assert!(!std::fs::exists(&group).unwrap());
    let held = next.create(&spec()).unwrap();
    // A live jail's group is not touched.
    let other = crate::common::launcher().unwrap();
    assert_eq!(sh(&held, "echo alive").out, "alive\n");
    drop(other);
    assert!(held.destroy().unwrap().is_clean());
}

#[test]
fn many_threads_make_jails_at_once() {
    let Some(launcher) = launcher() else { return };
    std::thread::scope(|scope| {
        for n in 0..12 {
            let launcher = &launcher;
            scope.spawn(move || {
                for round in 0..3 {
                    let jail = launcher.create(&spec()).unwrap();
                    let said = sh(&jail, &format!("echo {n} {round}")).out;
                    assert_eq!(said, format!("{n} {round}\n"));
                    let residue = jail.destroy().unwrap();
                    assert!(residue.is_clean(), "{residue:?}");
                }
            });
        }
    });
}

#[test]
fn many_commands_run_in_one_jail_at_once() {
    let Some(launcher) = launcher() else { return };
    let jail = launcher.create(&spec()).unwrap();
    std::thread::scope(|scope| {
        for n in 0..12 {
            let jail = &jail;
            scope.spawn(move || {
                let ran = sh(jail, &format!("echo {n}; exit {n}"));
                assert_eq!(ran.out, format!("{n}\n"));
                assert_eq!(ran.status, sandbox::ExitStatus::Code(n));
            });
        }
    });
}

#[test]
fn a_polite_signal_to_the_launcher_leaves_the_jobs_running() {
    let Some(launcher) = launcher() else { return };
    let jail = launcher.create(&spec()).unwrap();
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        let pid = Pid::from_raw(i32::try_from(launcher.pid().unwrap()).unwrap()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }
    assert_eq!(sh(&jail, "echo alive").out, "alive\n");
    assert!(jail.destroy().unwrap().is_clean());
    // A command starts with every signal as a new program expects it.
    let jail = launcher.create(&spec()).unwrap();
    let status = crate::common::run(&jail, &["cat", "/proc/self/status"]).out;
    for name in ["SigBlk", "SigIgn", "SigCgt"] {
        let line = format!("{name}:\t0000000000000000\n");
        assert!(status.contains(&line), "{status}");
    }
}

#[test]
fn a_jail_ends_with_its_handle_and_all_with_the_launchers() {
    let Some(launcher) = launcher() else { return };
    let (a, b) = (
        launcher.create(&spec()).unwrap(),
        launcher.create(&spec()).unwrap(),
    );
    let (a_ends, b_ends) = (wait_end(a.init_pid()), wait_end(b.init_pid()));
    drop(a);
    a_ends();
    assert_eq!(sh(&b, "echo alive").out, "alive\n");
    drop(launcher);
    b_ends();
}

#[test]
fn a_hundred_jails_leave_nothing() {
    let Some(launcher) = launcher() else { return };
    let launcher_fds = format!("/proc/{}/fd", launcher.pid().unwrap());
    let count = |dir: &str| std::fs::read_dir(dir).unwrap().count();
    let mounts = || {
        std::fs::read_to_string(format!("/proc/{}/mountinfo", launcher.pid().unwrap()))
            .unwrap()
            .lines()
            .count()
    };
    let before = (count(&launcher_fds), mounts());
    for _ in 0..100 {
        let jail = launcher.create(&spec()).unwrap();
        assert_eq!(
            sh(
                &jail,
                "echo x > /work/x; sleep 100 >/dev/null 2>&1 & cat /work/x"
            )
            .out
            .trim(),
            "x"
        );
        let residue = jail.destroy().unwrap();
        assert!(residue.is_clean(), "{residue:?}");
    }
    // The last search is reaped a moment after its answer.
    while (count(&launcher_fds), mounts()) != before {}
}

#[test]
fn slots_run_out_with_a_word() {
    let Some(_) = launcher() else { return };
    let config = sandbox::LauncherConfig {
        slots: 1,
        id_base: 0x6fe0_0000,
        ..config()
    };
    let launcher = Launcher::start(&config).unwrap();
    let held = launcher.create(&spec()).unwrap();
    assert!(matches!(
        launcher.create(&spec()),
        Err(sandbox::CreateError::NoSlot { slots: 1 })
    ));
    held.destroy().unwrap();
    create_when_free(&launcher);
}
