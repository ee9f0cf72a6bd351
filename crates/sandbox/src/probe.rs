//! What this host offers the sandbox: for `doctor`, and for refusing to start without it.

use std::io;
use std::os::fd::AsFd;

use rustix::process::{WaitId, WaitIdOptions};

use crate::cgroup;
use crate::facts::{Finding, FindingState};
use crate::spec::LauncherConfig;
use crate::sys::{self, Cloned};

/// Kernels older than this cannot idmap overlay layers.
const KERNEL_FLOOR: (u32, u32) = (5, 19);

/// Looks at everything the sandbox needs or uses. Needs no privileges, but answers about the
/// present process: call it as the user that starts the launcher, before threads start.
#[must_use]
pub fn probe(config: &LauncherConfig) -> Vec<Finding> {
    vec![
        root_finding(),
        kernel_finding(),
        namespaces_finding(),
        seccomp_finding(),
        cgroup_finding(),
        ids_finding(config),
        overlay_finding(),
        landlock_finding(),
        apparmor_finding(),
    ]
}

/// Why no jail can be made here; `Ok` when one can.
pub(crate) fn mandatory() -> Result<(), String> {
    let checks = [
        root_finding(),
        kernel_finding(),
        namespaces_finding(),
        seccomp_finding(),
        cgroup_finding(),
        overlay_finding(),
    ];
    let missing: Vec<String> = checks
        .into_iter()
        .filter(|f| f.state == FindingState::Mandatory)
        .map(|f| format!("{}: {}; {}", f.name, f.words, f.mend))
        .collect();
    if missing.is_empty() {
        Ok(())
    } else {
        Err(missing.join(". "))
    }
}

fn ok(name: &str, words: impl Into<String>) -> Finding {
    let (name, words, mend) = (name.to_owned(), words.into(), String::new());
    Finding {
        name,
        state: FindingState::Ok,
        words,
        mend,
    }
}

fn missing(name: &str, state: FindingState, words: impl Into<String>, mend: &str) -> Finding {
    Finding {
        name: name.to_owned(),
        state,
        words: words.into(),
        mend: mend.to_owned(),
    }
}

fn root_finding() -> Finding {
    let name = "privileges";
    if !rustix::process::geteuid().is_root() {
        let words = format!("user {} runs this", rustix::process::geteuid().as_raw());
        let mend = "start the launcher as root; only it keeps privileges";
        return missing(name, FindingState::Mandatory, words, mend);
    }
    let needed = rustix::thread::CapabilitySet::SYS_ADMIN
        | rustix::thread::CapabilitySet::SETUID
        | rustix::thread::CapabilitySet::SETGID
        | rustix::thread::CapabilitySet::CHOWN
        | rustix::thread::CapabilitySet::MKNOD
        | rustix::thread::CapabilitySet::KILL
        | rustix::thread::CapabilitySet::DAC_OVERRIDE;
    match rustix::thread::capabilities(None) {
        Ok(sets) if sets.effective.contains(needed) => ok(name, "root with its capabilities"),
        _ => missing(
            name,
            FindingState::Mandatory,
            "root without some of its capabilities (a container?)",
            "run on the host itself, or give the container CAP_SYS_ADMIN",
        ),
    }
}

fn kernel_finding() -> Finding {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy().into_owned();
    let mut numbers = release
        .split(['.', '-'])
        .map_while(|n| n.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version >= KERNEL_FLOOR {
        ok("kernel", release)
    } else {
        let mend = "install a kernel of 5.19 or later; older ones cannot map the owners of image \
                    layers";
        missing("kernel", FindingState::Mandatory, release, mend)
    }
}

/// Makes the namespaces that no job starts without, in a child that ends at once.
fn namespaces_finding() -> Finding {
    let name = "user, mount, pid and network namespaces";
    let flags = libc::CLONE_NEWUSER | libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWNET;
    match try_child(u64::try_from(flags).expect("positive flags"), || 0) {
        Ok(0) => ok(name, "all can be made"),
        Ok(code) => missing(
            name,
            FindingState::Mandatory,
            format!("exit {code}"),
            MEND_NAMESPACES,
        ),
        Err(e) => missing(
            name,
            FindingState::Mandatory,
            e.to_string(),
            MEND_NAMESPACES,
        ),
    }
}

const MEND_NAMESPACES: &str = "allow them: sysctl user.max_user_namespaces above 0, and with AppArmor a profile that \
     permits userns for this program";

fn seccomp_finding() -> Finding {
    let name = "seccomp filters";
    let program = crate::seccomp::program();
    let result = try_child(0, || {
        let set = rustix::thread::set_no_new_privs(true).is_ok();
        let loaded = sys::load_seccomp(&program).is_ok();
        // SAFETY: one thread; the filter refuses it, and otherwise only this child changes.
        let tried =
            unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWUSER) };
        let in_force = tried == Err(rustix::io::Errno::PERM);
        i32::from(!(set && loaded && in_force))
    });
    match result {
        Ok(0) => ok(name, "a filter was loaded and refused a call"),
        _ => missing(
            name,
            FindingState::Mandatory,
            "no filter can be loaded",
            "use a kernel with CONFIG_SECCOMP_FILTER",
        ),
    }
}

fn cgroup_finding() -> Finding {
    let name = "control groups for memory and processes";
    let mend = "mount cgroup2 at /sys/fs/cgroup with the controllers memory and pids";
    let points = match cgroup::mount_points() {
        Ok(points) => points,
        Err(e) => return missing(name, FindingState::Mandatory, e.to_string(), mend),
    };
    match cgroup::version(&points) {
        Some("v2") => ok(name, "version 2"),
        Some(_) => ok(
            name,
            "version 1; version 2 tells more and kills whole jobs at once",
        ),
        None => missing(
            name,
            FindingState::Mandatory,
            "memory or pids is not there",
            mend,
        ),
    }
}

fn ids_finding(config: &LauncherConfig) -> Finding {
    let name = "ids for jobs";
    let etc = std::path::Path::new("/etc");
    match crate::slots::check_host(etc, config.id_base, config.slots) {
        Ok(()) => {
            let last = config.id_base + config.slots * crate::spec::IDS_PER_SLOT - 1;
            ok(
                name,
                format!("{} to {last}, which nobody else has", config.id_base),
            )
        }
        Err(why) => missing(
            name,
            FindingState::Mandatory,
            why,
            "choose another first id or fewer slots in the configuration",
        ),
    }
}

fn overlay_finding() -> Finding {
    match std::fs::read_to_string("/proc/filesystems") {
        Ok(text) if text.lines().any(|l| l.trim_end().ends_with("\toverlay")) => {
            ok("overlay file system", "known to the kernel")
        }
        // The module is loaded when it is first asked for.
        _ if rustix::mount::fsopen("overlay", rustix::mount::FsOpenFlags::FSOPEN_CLOEXEC)
            .is_ok() =>
        {
            ok("overlay file system", "loaded on demand")
        }
        _ => missing(
            "overlay file system",
            FindingState::Mandatory,
            "the kernel does not know it",
            "load the module: modprobe overlay",
        ),
    }
}

fn landlock_finding() -> Finding {
    match sys::landlock_abi() {
        0 => missing(
            "landlock",
            FindingState::Missing,
            "this kernel has none or it is not enabled",
            "add landlock to the lsm= line of the kernel for narrower rules on files and ports",
        ),
        abi if abi < 4 => ok(
            "landlock",
            format!("ABI {abi}: rules on files; rules on ports need ABI 4"),
        ),
        abi => ok("landlock", format!("ABI {abi}: rules on files and ports")),
    }
}

fn apparmor_finding() -> Finding {
    let name = "AppArmor and user namespaces";
    let path = "/proc/sys/kernel/apparmor_restrict_unprivileged_userns";
    match std::fs::read_to_string(path) {
        Ok(text) if text.trim() == "1" => ok(
            name,
            "user namespaces of unprivileged programs are restricted; the launcher is root and \
             not affected",
        ),
        _ => ok(name, "no restriction"),
    }
}

/// Runs a function in a child in fresh namespaces; its exit code.
fn try_child(flags: u64, body: impl FnOnce() -> i32) -> io::Result<i32> {
    match sys::clone_process(flags, None)? {
        Cloned::Child => sys::exit_now(body()),
        Cloned::Parent { pidfd, .. } => {
            let ended =
                rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED)?;
            Ok(ended.and_then(|s| s.exit_status()).unwrap_or(-1))
        }
    }
}
