//! Landlock: what a job's processes may do with files and ports, as far as the kernel goes.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags};

use crate::spec::LandlockRules;
use crate::sys;

const EXECUTE: u64 = 1;
const WRITE_FILE: u64 = 1 << 1;
const READ_FILE: u64 = 1 << 2;
const READ_DIR: u64 = 1 << 3;
const MAKE_CHAR: u64 = 1 << 6;
const MAKE_BLOCK: u64 = 1 << 11;
const REFER: u64 = 1 << 13;
const TRUNCATE: u64 = 1 << 14;
const IOCTL_DEV: u64 = 1 << 15;

/// Rights that reach a file rather than a directory.
const ON_FILE: u64 = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV;
const READING: u64 = EXECUTE | READ_FILE | READ_DIR;

const BIND_TCP: u64 = 1;
const CONNECT_TCP: u64 = 1 << 1;

/// What a domain was made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InForce {
    pub(crate) abi: u32,
    pub(crate) enforced: bool,
}

fn all_rights(abi: u32) -> u64 {
    let mut all = (1 << 13) - 1;
    if abi >= 2 {
        all |= REFER;
    }
    if abi >= 3 {
        all |= TRUNCATE;
    }
    if abi >= 5 {
        all |= IOCTL_DEV;
    }
    all
}

fn open(path: &str) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(
        path,
        OFlags::PATH | OFlags::CLOEXEC,
        Mode::empty(),
    )?)
}

/// Puts this process under the rules. `devices` lets it make device nodes as far as the kernel
/// itself does (whiteouts of layers). A kernel without Landlock enforces nothing, and says so.
pub(crate) fn enforce(rules: &LandlockRules, devices: bool) -> io::Result<InForce> {
    let abi = sys::landlock_abi();
    if abi == 0 {
        return Ok(InForce {
            abi,
            enforced: false,
        });
    }
    let fs = all_rights(abi);
    let mut net = 0;
    if abi >= 4 {
        net |= if rules.connect_ports.is_some() {
            CONNECT_TCP
        } else {
            0
        };
        net |= if rules.bind_ports.is_some() {
            BIND_TCP
        } else {
            0
        };
    } else if rules.connect_ports.is_some() || rules.bind_ports.is_some() {
        let why = format!("rules on ports need Landlock ABI 4, this kernel has {abi}");
        return Err(io::Error::new(io::ErrorKind::Unsupported, why));
    }
    let ruleset = sys::landlock_ruleset(&sys::LandlockRuleset { fs, net })?;
    let refused = if devices {
        IOCTL_DEV
    } else {
        MAKE_CHAR | MAKE_BLOCK | IOCTL_DEV
    };
    let usual = fs & !refused;
    let root = if rules.write_below.is_some() {
        READING
    } else {
        usual
    };
    sys::landlock_allow_path(ruleset.as_fd(), open("/")?.as_fd(), root)?;
    for path in rules.write_below.iter().flatten() {
        sys::landlock_allow_path(ruleset.as_fd(), open(path)?.as_fd(), usual)?;
    }
    for device in [
        "/dev/null",
        "/dev/zero",
        "/dev/full",
        "/dev/tty",
        "/dev/random",
        "/dev/urandom",
    ] {
        if let Ok(fd) = open(device) {
            sys::landlock_allow_path(ruleset.as_fd(), fd.as_fd(), fs & ON_FILE)?;
        }
    }
    for dir in ["/dev/pts", "/dev/shm"] {
        if let Ok(fd) = open(dir) {
            sys::landlock_allow_path(ruleset.as_fd(), fd.as_fd(), fs & !(MAKE_CHAR | MAKE_BLOCK))?;
        }
    }
    for (ports, right) in [
        (&rules.connect_ports, CONNECT_TCP),
        (&rules.bind_ports, BIND_TCP),
    ] {
        for port in ports.iter().flatten() {
            sys::landlock_allow_port(ruleset.as_fd(), *port, right)?;
        }
    }
    sys::landlock_restrict(ruleset.as_fd())?;
    Ok(InForce {
        abi,
        enforced: true,
    })
}
