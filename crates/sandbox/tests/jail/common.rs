//! What the proofs share: a launcher, small jails, commands in them.

use std::io::Read;
use std::path::PathBuf;

use sandbox::{ExecSpec, ExitStatus, Jail, JailSpec, Launcher, LauncherConfig, ReadOnlyBind, Root};

/// The program that the launcher is, and that probes from inside.
pub(crate) const HOST: &str = env!("CARGO_BIN_EXE_sandbox-test-host");

/// Where the probing program is seen in a jail.
pub(crate) const PROBE: &str = "/opt/probe";

/// A command's end and output.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) status: ExitStatus,
    pub(crate) out: String,
}

pub(crate) fn config() -> LauncherConfig {
    LauncherConfig {
        exe: PathBuf::from(HOST),
        allow_controls: true,
        ..LauncherConfig::new()
    }
}

/// A launcher; none where these proofs cannot run, which CI does not accept.
pub(crate) fn launcher() -> Option<Launcher> {
    if !rustix::process::geteuid().is_root() {
        assert!(
            std::env::var_os("CI").is_none(),
            "the sandbox is proved as root"
        );
        eprintln!("not root: the sandbox is not proved");
        return None;
    }
    Some(Launcher::start(&config()).expect("this host can isolate jobs"))
}

/// A small jail over the host's `/usr`, with the probing program in it.
pub(crate) fn spec() -> JailSpec {
    let mut spec = JailSpec::new(Root::HostUsr);
    spec.limits.memory_bytes = 256 << 20;
    spec.limits.pids = 64;
    spec.limits.disk_bytes = 64 << 20;
    spec.limits.file_size_bytes = 16 << 20;
    spec.binds.push(ReadOnlyBind {
        source: PathBuf::from(HOST),
        target: PROBE.to_owned(),
    });
    spec
}

/// Runs a command as the jail's root and waits for it; both outputs together.
pub(crate) fn run(jail: &Jail, argv: &[&str]) -> Ran {
    run_as(jail, 0, argv)
}

/// Runs a command as a user of the jail.
pub(crate) fn run_as(jail: &Jail, uid: u32, argv: &[&str]) -> Ran {
    let (mut reader, writer) = sandbox::pipe().expect("a pipe");
    let exec = jail
        .exec(ExecSpec {
            argv: argv.iter().map(|a| (*a).to_owned()).collect(),
            env: vec![("PATH".into(), "/usr/bin:/bin".into())],
            uid,
            gid: uid,
            stdout: Some(writer.try_clone().expect("a descriptor")),
            stderr: Some(writer),
            ..ExecSpec::default()
        })
        .expect("the command starts");
    let mut out = String::new();
    reader.read_to_string(&mut out).expect("text");
    Ran {
        status: exec.wait(None).expect("no timeout"),
        out,
    }
}

/// Runs a shell script as the jail's root.
pub(crate) fn sh(jail: &Jail, script: &str) -> Ran {
    run(jail, &["sh", "-c", script])
}

/// Runs one probe of the test program; what it printed.
pub(crate) fn probe(jail: &Jail, words: &[&str]) -> String {
    let mut argv = vec![PROBE, "probe"];
    argv.extend(words);
    run(jail, &argv).out.trim().to_owned()
}
