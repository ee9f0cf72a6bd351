//! What a host lacks is said in words and starts no job; a launcher may be a service of its own.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use sandbox::{FindingState, Launcher, LauncherConfig, StartError};

use crate::common::{HOST, config, launcher, sh, spec};
use crate::teardown::wait_end;

/// Starts a launcher through a script that takes something away first; why it refuses.
fn refused(script: &str) -> String {
    let mut wrapper = tempfile::Builder::new()
        .tempfile_in("/tmp")
        .expect("a scratch file");
    writeln!(wrapper, "#!/bin/sh\n{}", script.replace("HOST", HOST)).expect("a scratch file");
    let mode = std::fs::Permissions::from_mode(0o755);
    wrapper
        .as_file()
        .set_permissions(mode)
        .expect("a scratch file");
    let path = wrapper.into_temp_path();
    let config = LauncherConfig {
        exe: PathBuf::from(&*path),
        ..config()
    };
    match Launcher::start(&config) {
        Err(StartError::Refused { why }) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_a_host_lacks_is_said_and_starts_no_job() {
    if launcher().is_none() {
        return;
    }
    let why = refused("exec setpriv --bounding-set -sys_admin HOST \"$@\"");
    assert!(
        why.contains("privileges: root without some of its capabilities"),
        "{why}"
    );
    let why = refused("exec setpriv --reuid 65534 --clear-groups HOST \"$@\"");
    assert!(
        why.contains("user 65534 runs this; start the launcher as root"),
        "{why}"
    );
    let why =
        refused("exec unshare -m sh -c 'umount -lR /sys/fs/cgroup; exec HOST \"$@\"' - \"$@\"");
    assert!(
        why.contains("memory or pids is not there; mount cgroup2"),
        "{why}"
    );
}

#[test]
fn the_doctor_finds_this_host_fit_and_a_bad_range_of_ids_not() {
    if launcher().is_none() {
        return;
    }
    let findings = sandbox::probe(&config());
    assert!(
        findings.iter().all(|f| f.state != FindingState::Mandatory),
        "{findings:?}"
    );
    assert!(findings.len() >= 8);
    let bad = LauncherConfig {
        id_base: 0,
        ..config()
    };
    let findings = sandbox::probe(&bad);
    let ids = findings.iter().find(|f| f.name == "ids for jobs").unwrap();
    assert_eq!(ids.state, FindingState::Mandatory);
    assert!(!ids.mend.is_empty());
    assert!(matches!(
        Launcher::start(&bad),
        Err(StartError::Refused { .. })
    ));
}

/// The service's process, ended with the test.
struct Service(Child);

impl Drop for Service {
    fn drop(&mut self) {
        self.0.kill().expect("it is ours");
        self.0.wait().expect("it is ours");
    }
}

/// A launcher service, and a connection to it.
fn service(socket: &std::path::Path) -> (Service, Launcher) {
    let service = Command::new(HOST)
        .arg("listen")
        .arg(socket)
        .stdout(Stdio::piped())
        .spawn()
        .expect("the service starts");
    let service = Service(service);
    loop {
        // The socket is there a moment after the service.
        match Launcher::connect(socket) {
            Ok(launcher) => return (service, launcher),
            Err(StartError::Ended(_)) => {}
            Err(e) => panic!("{e}"),
        }
    }
}

#[test]
fn a_launcher_service_that_is_killed_takes_every_jail_with_it() {
    if launcher().is_none() {
        return;
    }
    let dir = tempfile::Builder::new().tempdir_in("/tmp").unwrap();
    let (mut service, launcher) = service(&dir.path().join("launcher.sock"));
    // The process that serves us changes its ids for each jail that it makes.
    let jails: Vec<_> = (0..3).map(|_| launcher.create(&spec()).unwrap()).collect();
    assert_eq!(sh(&jails[0], "echo lives").out, "lives\n");
    let ends: Vec<_> = jails.iter().map(|jail| wait_end(jail.init_pid())).collect();
    service.0.kill().unwrap();
    for init_ends in ends {
        init_ends();
    }
    assert!(launcher.create(&spec()).is_err());
}

#[test]
fn a_launcher_service_serves_appliances_by_its_own_settings() {
    if launcher().is_none() {
        return;
    }
    let dir = tempfile::Builder::new().tempdir_in("/tmp").unwrap();
    let socket = dir.path().join("launcher.sock");
    let (_service, launcher) = service(&socket);
    let jail = launcher.create(&spec()).unwrap();
    assert_eq!(sh(&jail, "echo served").out, "served\n");
    // The service was not started for tests, whatever its caller would like.
    let mut bare = spec();
    bare.off.seccomp = true;
    assert!(launcher.create(&bare).is_err());
    assert!(jail.destroy().unwrap().is_clean());
}
