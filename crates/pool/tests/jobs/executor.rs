//! What every executor must do, asked of the embedded one.

use std::io::Write;
use std::os::fd::OwnedFd;

use runner::executor::{
    AttemptSpec, ExecSpec, Executor, ExecutorError, Exit, SandboxError, Signal, User,
};
use vocab::{Attempt, Fence};

use crate::common::{case, executor};

fn attempt() -> AttemptSpec {
    let order = case("steps:\n  - run: x\n").order;
    AttemptSpec {
        fence: order.fence,
        image: None,
        limits: order.limits,
        hostname: "probe".to_owned(),
        network: order.network,
        shown: Vec::new(),
    }
}

fn program(words: &[&str]) -> ExecSpec {
    ExecSpec {
        argv: words.iter().map(|w| (*w).to_owned()).collect(),
        env: vec![("PATH".to_owned(), "/usr/bin:/bin".to_owned())],
        cwd: "/".to_owned(),
        user: User::default(),
    }
}

fn nowhere() -> OwnedFd {
    std::fs::File::options()
        .write(true)
        .open("/dev/null")
        .expect("it is there")
        .into()
}

fn archive(entries: &[(&str, &str)]) -> OwnedFd {
    let mut tar = Vec::new();
    for (name, text) in entries {
        // Written by hand, because the library refuses to write names that leave the folder.
        let mut header = tar::Header::new_gnu();
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.set_size(u64::try_from(text.len()).expect("it is small"));
        header.set_mode(0o644);
        header.set_cksum();
        tar.extend_from_slice(header.as_bytes());
        tar.extend_from_slice(text.as_bytes());
        tar.resize(tar.len().next_multiple_of(512), 0);
    }
    tar.resize(tar.len() + 1024, 0);
    let (reader, mut writer) = std::io::pipe().expect("it is small");
    writer.write_all(&tar).expect("it is small");
    reader.into()
}

#[test]
fn an_attempt_has_one_sandbox_at_a_time() {
    let Some(executor) = executor() else { return };
    let first = executor.prepare(&attempt()).unwrap();
    assert_eq!(executor.list().unwrap(), [attempt().fence]);
    let again = executor.prepare(&attempt());
    assert!(matches!(again, Err(ExecutorError::AlreadyPrepared { .. })));
    let mut other = attempt();
    other.fence = Fence {
        attempt: Attempt(2),
        ..other.fence
    };
    let second = executor.prepare(&other).unwrap();
    assert_eq!(executor.list().unwrap().len(), 2);
    for sandbox in [first, second] {
        let ended = sandbox.destroy();
        assert!(ended.residue.found.is_empty(), "{:?}", ended.residue);
        assert!(ended.usage.is_some());
    }
    assert!(executor.list().unwrap().is_empty());
    assert!(executor.prepare(&attempt()).is_ok(), "a new one may follow");
}

#[test]
fn files_go_in_and_out_and_stay_inside() {
    let Some(executor) = executor() else { return };
    let sandbox = executor.prepare(&attempt()).unwrap();
    let owner = User { uid: 5, gid: 6 };
    sandbox.remove("/work").unwrap();
    sandbox.mkdir("/work", 0o777, User::default()).unwrap();
    sandbox
        .unpack_tar("/work/a", archive(&[("x/y", "text")]), owner)
        .unwrap();
    assert_eq!(
        sandbox.read_file("/work/a/x/y", 4).unwrap().unwrap(),
        b"text"
    );
    let large = sandbox.read_file("/work/a/x/y", 3);
    assert!(
        matches!(large, Err(SandboxError::TooLarge { limit: 3, .. })),
        "{large:?}"
    );
    assert_eq!(sandbox.read_file("/work/none", 9).unwrap(), None);
    for name in ["../out", "/../../out", "x/../../../out"] {
        // Refused or kept inside: never beside the folder.
        if sandbox
            .unpack_tar("/work/a", archive(&[(name, "no")]), owner)
            .is_ok()
        {
            assert_eq!(sandbox.read_file("/work/out", 9).unwrap(), None, "{name}");
            assert_eq!(sandbox.read_file("/out", 9).unwrap(), None, "{name}");
        }
    }
    sandbox.remove("/work/a").unwrap();
    sandbox.remove("/work/a").unwrap();
    assert_eq!(sandbox.read_file("/work/a/x/y", 4).unwrap(), None);
    sandbox.destroy();
}

#[test]
fn programs_end_by_their_own_word_by_signals_and_all_together() {
    let Some(executor) = executor() else { return };
    let sandbox = executor.prepare(&attempt()).unwrap();
    let absent = sandbox
        .exec(&program(&["no-such-program"]), nowhere())
        .err();
    assert!(
        matches!(absent, Some(SandboxError::NoProgram { .. })),
        "{absent:?}"
    );
    let mut seven = sandbox
        .exec(&program(&["sh", "-c", "exit 7"]), nowhere())
        .unwrap();
    assert_eq!(seven.wait().unwrap(), Exit::Code(7));
    seven
        .signal(Signal::Terminate)
        .expect("one that has ended does not mind");
    let mut told = sandbox
        .exec(&program(&["sleep", "1000"]), nowhere())
        .unwrap();
    told.signal(Signal::Terminate).unwrap();
    assert_eq!(told.wait().unwrap(), Exit::Signal(15));
    let mut killed = sandbox
        .exec(&program(&["sleep", "4321"]), nowhere())
        .unwrap();
    let live = sandbox.processes().unwrap();
    assert_eq!(live.len(), 1, "{live:?}");
    assert_eq!(live[0].command, "sleep 4321");
    sandbox.kill_all().unwrap();
    assert_eq!(killed.wait().unwrap(), Exit::Signal(9));
    assert!(sandbox.processes().unwrap().is_empty());
    let mut after = sandbox.exec(&program(&["true"]), nowhere()).unwrap();
    assert_eq!(after.wait().unwrap(), Exit::Code(0));
    sandbox.destroy();
}

#[test]
fn the_listener_is_given_out_once_and_is_reached_from_inside() {
    let Some(executor) = executor() else { return };
    let sandbox = executor.prepare(&attempt()).unwrap();
    let listener = sandbox.take_listener().expect("it was bound");
    assert!(sandbox.take_listener().is_none());
    let connect = format!(
        "exec 3<>/dev/tcp/127.0.0.1/{} && echo hello >&3",
        pool::SERVICE_PORT
    );
    let mut client = sandbox
        .exec(&program(&["bash", "-c", &connect]), nowhere())
        .unwrap();
    let (mut stream, _) = listener.accept().unwrap();
    let mut said = String::new();
    std::io::Read::read_to_string(&mut stream, &mut said).unwrap();
    assert_eq!(said, "hello\n");
    assert_eq!(client.wait().unwrap(), Exit::Code(0));
    sandbox.destroy();
}

#[test]
fn a_probe_names_every_layer() {
    let Some(executor) = executor() else { return };
    let layers = executor.probe().unwrap();
    assert!(
        layers.len() >= 13 && layers.iter().all(|l| !l.source.is_empty()),
        "{layers:?}"
    );
    assert!(executor.list().unwrap().is_empty());
}
