//! A jail is made, runs commands, takes and gives files, and is gone.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::common::{launcher, run, run_as, sh, spec};
use sandbox::{ExecError, ExecSpec, ExitStatus, FileError};

#[test]
fn a_command_runs_and_nothing_is_left_of_its_jail() {
    let Some(launcher) = launcher() else { return };
    let jail = launcher.create(&spec()).unwrap();
    let ran = sh(&jail, "echo hello; id -u; pwd; exit 3");
    assert_eq!(ran.out, "hello\n0\n/\n");
    assert_eq!(ran.status, ExitStatus::Code(3));
    let residue = jail.destroy().unwrap();
    assert!(residue.is_clean(), "{residue:?}");
    assert!(residue.processes_searched > 0);
}

#[test]
fn a_command_that_cannot_start_says_why() {
    let Some(launcher) = launcher() else { return };
    let jail = launcher.create(&spec()).unwrap();
    let exec = |argv: &str, cwd: &str| {
        jail.exec(ExecSpec {
            argv: vec![argv.into()],
            cwd: cwd.into(),
            ..ExecSpec::default()
        })
    };
    assert!(matches!(
        exec("no-such", "/"),
        Err(ExecError::NotFound { .. })
    ));
    assert!(matches!(
        exec("/etc/passwd", "/"),
        Err(ExecError::NotExecutable { .. })
    ));
    assert!(matches!(
        exec("true", "/nowhere"),
        Err(ExecError::Cwd { .. })
    ));
    assert_eq!(run(&jail, &["true"]).status, ExitStatus::Code(0));
}

#[test]
fn a_command_runs_as_the_user_asked_for() {
    let Some(launcher) = launcher() else { return };
    let jail = launcher.create(&spec()).unwrap();
    assert_eq!(run_as(&jail, 1000, &["id", "-u"]).out, "1000\n");
    let ran = run_as(
        &jail,
        1000,
        &["sh", "-c", "cat /proc/self/status | grep CapEff; touch /x"],
    );
    assert!(ran.out.contains("CapEff:\t0000000000000000"), "{}", ran.out);
    assert!(!ran.status.success());
}

#[test]
fn the_main_process_ends_a_step_whatever_its_children_hold_open() {
    let Some(launcher) = launcher() else { return };
    let jail = launcher.create(&spec()).unwrap();
    let (_reader, writer) = sandbox::pipe().unwrap();
    let exec = jail
        .exec(ExecSpec {
            argv: ["sh", "-c", "sleep 1000 & exit 4"]
                .map(String::from)
                .to_vec(),
            stdout: Some(writer),
            ..ExecSpec::default()
        })
        .unwrap();
    assert_eq!(exec.wait(None), Some(ExitStatus::Code(4)));
    jail.kill_all_jobs().unwrap();
    let residue = jail.destroy().unwrap();
    assert!(residue.is_clean(), "{residue:?}");
}

#[test]
fn a_signal_reaches_the_command_and_its_descendants() {
    let Some(launcher) = launcher() else { return };
    let jail = launcher.create(&spec()).unwrap();
    let (mut reader, writer) = sandbox::pipe().unwrap();
    let exec = jail
        .exec(ExecSpec {
            argv: ["sh", "-c", "(setsid sleep 1000) & echo up; wait"]
                .map(String::from)
                .to_vec(),
            stdout: Some(writer),
            ..ExecSpec::default()
        })
        .unwrap();
    let mut up = [0_u8; 3];
    reader.read_exact(&mut up).unwrap();
    assert_eq!(exec.wait(Some(Duration::ZERO)), None);
    exec.kill(9).unwrap();
    assert_eq!(exec.wait(None), Some(ExitStatus::Signal(9)));
    // The pipe ends only when the last descendant is gone.
    let mut rest = Vec::new();
    reader.read_to_end(&mut rest).unwrap();
}

#[test]
fn files_are_written_read_and_removed_inside() {
    let Some(launcher) = launcher() else { return };
    let jail = launcher.create(&spec()).unwrap();
    jail.write_file("/work/a/b", b"text", 0o751, (1000, 0))
        .unwrap_err();
    jail.mkdir("/work/a", 0o777, (0, 0)).unwrap();
    jail.write_file("/work/a/b", b"text", 0o751, (1000, 1000))
        .unwrap();
    assert_eq!(jail.read_file("/work/a/b", 100).unwrap(), b"text");
    assert_eq!(sh(&jail, "stat -c '%a %u' /work/a/b").out, "751 1000\n");
    assert!(matches!(
        jail.read_file("/work/a/b", 3),
        Err(FileError::TooLarge { .. })
    ));
    assert!(jail.read_file("/work/a/c", 3).unwrap_err().is_not_found());
    jail.read_file("/proc/1/mem", 3).unwrap_err();
    jail.remove("/work/a").unwrap();
    jail.remove("/work/a").unwrap();
    assert!(jail.read_file("/work/a/b", 3).unwrap_err().is_not_found());
}

#[test]
fn the_service_port_is_served_from_outside() {
    let Some(launcher) = launcher() else { return };
    let mut spec = spec();
    spec.service_port = Some(8080);
    let jail = launcher.create(&spec).unwrap();
    let listener = jail.listener().unwrap().unwrap();
    let served = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"from outside\n").unwrap();
    });
    let ran = run(&jail, &["bash", "-c", "cat < /dev/tcp/127.0.0.1/8080"]);
    served.join().unwrap();
    assert_eq!(ran.out, "from outside\n");
    assert!(
        TcpStream::connect(("127.0.0.1", 8080)).is_err(),
        "not on the host's loopback"
    );
}
