//! The inside of a jail: root directory, `/proc`, devices, host name, loopback, the listener.

use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags, UnmountFlags,
};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::process::{DumpableBehavior, Signal};

use crate::caps;
use crate::error::CreateError;
use crate::protocol::{Finish, MountAt};
use crate::spec::DefenceOff;
use crate::sys;

/// Files of `/proc` that tell about the host or steer it; covered by `/dev/null`.
const MASKED_FILES: [&str; 12] = [
    "kcore",
    "keys",
    "key-users",
    "kmsg",
    "latency_stats",
    "sched_debug",
    "slabinfo",
    "sysrq-trigger",
    "timer_list",
    "kallsyms",
    "interrupts",
    "kpagecount",
];

/// Directories of `/proc` that are covered by an empty one.
const MASKED_DIRS: [&str; 5] = ["acpi", "asound", "scsi", "bus", "driver"];

/// Directories of `/proc` that can only be read.
const READ_ONLY_DIRS: [&str; 3] = ["sys", "irq", "fs"];

fn stage(what: &'static str) -> impl FnOnce(io::Error) -> CreateError {
    move |e| CreateError::Stage {
        stage: what.to_owned(),
        why: e.to_string(),
    }
}

/// Asks the kernel to end this process with the launcher.
pub(super) fn die_with_launcher(on: bool) -> io::Result<()> {
    let signal = on.then_some(Signal::KILL);
    Ok(rustix::process::set_parent_process_death_signal(signal)?)
}

/// What the first part of the set-up leaves for the second.
pub(super) struct Early {
    /// `/proc` with its masks, attached out of the way.
    proc: Option<OwnedFd>,
    terminals: Option<OwnedFd>,
}

/// Everything that needs no request: done while the jail waits for one, or while the launcher
/// makes its root directory.
pub(super) fn early(off: &DefenceOff) -> Result<Early, CreateError> {
    sys::fresh_keyring().map_err(stage("an own keyring"))?;
    rustix::process::setsid().map_err(|e| stage("an own session")(e.into()))?;
    // SAFETY: one thread, and no descriptor table is unshared.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWCGROUP) }
        .map_err(|e| stage("a cgroup namespace")(e.into()))?;
    rustix::process::umask(Mode::from_raw_mode(0o022));
    if off.init_guard && !off.user_namespace {
        become_root().map_err(stage("the init's ids"))?;
    }
    // What is made from here on belongs to the jail's root.
    sys::set_file_ids(0, 0).map_err(stage("the init's file ids"))?;
    let early = early_mounts(off).map_err(stage("/proc and terminals"))?;
    if !off.network_namespace {
        sys::loopback_up().map_err(stage("the loopback interface"))?;
    }
    if !off.capabilities {
        caps::limit_bounding().map_err(stage("the bounding set"))?;
    }
    if !off.no_new_privs {
        rustix::thread::set_no_new_privs(true).map_err(|e| stage("no_new_privs")(e.into()))?;
    }
    let dump = if off.init_guard {
        DumpableBehavior::Dumpable
    } else {
        DumpableBehavior::NotDumpable
    };
    rustix::process::set_dumpable_behavior(dump).map_err(|e| stage("dumpable")(e.into()))?;
    // The kernel forgets this when ids change, so it is asked again at the end.
    die_with_launcher(!off.parent_death).map_err(stage("the parent's death signal"))?;
    Ok(early)
}

/// Makes `/proc` and terminals in the launcher's scratch directory, the working directory.
fn early_mounts(off: &DefenceOff) -> io::Result<Early> {
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", private)?;
    if off.pivot {
        return Ok(Early {
            proc: None,
            terminals: None,
        });
    }
    // Terminals of group 5, which is `tty` on every distribution.
    let options = [("mode", "620"), ("gid", "5"), ("ptmxmode", "666")];
    let terminals = Some(new_mount("devpts", &options)?);
    if off.pid_namespace {
        return Ok(Early {
            proc: None,
            terminals,
        });
    }
    let proc = new_mount("proc", &[])?;
    attach(&proc, "proc")?;
    mask("proc", "dev/null")?;
    Ok(Early {
        proc: Some(proc),
        terminals,
    })
}

/// The rest, once the request is known. Gives the listening socket.
pub(super) fn inside(
    finish: &Finish,
    early: Early,
    mounts: Vec<OwnedFd>,
) -> Result<Option<OwnedFd>, CreateError> {
    root(finish, early, mounts).map_err(stage("the root directory"))?;
    rustix::system::sethostname(finish.spec.hostname.as_bytes())
        .map_err(|e| stage("the host name")(e.into()))?;
    finish
        .spec
        .service_port
        .map(listen)
        .transpose()
        .map_err(stage("the listener on the service port"))
}

fn become_root() -> io::Result<()> {
    let (uid, gid) = (rustix::process::Uid::ROOT, rustix::process::Gid::ROOT);
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    Ok(rustix::thread::set_thread_res_uid(uid, uid, uid)?)
}

fn listen(port: u16) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
    rustix::net::sockopt::set_socket_reuseaddr(&socket, true)?;
    rustix::net::bind(
        &socket,
        &std::net::SocketAddrV4::new(Ipv4Addr::LOCALHOST, port),
    )?;
    rustix::net::listen(&socket, 128)?;
    Ok(socket)
}

fn attach(mount: &OwnedFd, at: &str) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    rustix::mount::move_mount(mount, "", CWD, at, flags)
        .map_err(|e| io::Error::new(io::Error::from(e).kind(), format!("mounting {at}: {e}")))
}

fn root(finish: &Finish, early: Early, mounts: Vec<OwnedFd>) -> io::Result<()> {
    if finish.spec.off.pivot {
        return Ok(());
    }
    let mut mounts = mounts.into_iter().zip(&finish.mounts);
    let (root, _) = mounts.next().ok_or(io::ErrorKind::InvalidData)?;
    attach(&root, "root")?;
    let loader = std::fs::read("/etc/ld.so.cache").ok();
    let zone = std::fs::read("/etc/localtime").ok();
    std::env::set_current_dir("root")?;
    let host_proc = rustix::fs::open("/proc", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let old = rustix::fs::open(
        "/",
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    sys::pivot_here()?;
    if finish.host_usr {
        host_usr_root(loader, zone)?;
    }
    for (mount, at) in mounts {
        let make = at.target != "/dev/shm";
        if make && !at.target.starts_with("/layer") {
            place(at)?;
        } else if make {
            make_dir(&at.target)?;
        }
        attach(&mount, &at.target)?;
    }
    furnish(finish, early, &host_proc)?;
    rustix::process::fchdir(&old)?;
    drop((host_proc, old));
    // The old root lies on top of the new one; once it is gone nothing of the host is left.
    rustix::mount::unmount(".", UnmountFlags::DETACH)?;
    std::env::set_current_dir("/")
}

/// Makes the place of a mount when the image has none.
fn place(at: &MountAt) -> io::Result<()> {
    let path = Path::new(&at.target);
    if !at.file {
        return make_dir(&at.target);
    }
    if let Some(parent) = path.parent() {
        make_dir(&parent.display().to_string())?;
    }
    if !path.exists() {
        std::fs::write(path, "")?;
    }
    Ok(())
}

fn make_dir(path: &str) -> io::Result<()> {
    std::fs::create_dir_all(path)
        .map_err(|e| io::Error::new(e.kind(), format!("making {path}: {e}")))
}

/// `/proc`, terminals, and the few files that every program expects.
fn furnish(finish: &Finish, early: Early, host_proc: &OwnedFd) -> io::Result<()> {
    make_dir("/proc")?;
    if finish.spec.off.pid_namespace {
        let tree = rustix::mount::open_tree(
            host_proc,
            "",
            rustix::mount::OpenTreeFlags::OPEN_TREE_CLONE
                | rustix::mount::OpenTreeFlags::AT_EMPTY_PATH
                | rustix::mount::OpenTreeFlags::AT_RECURSIVE,
        )?;
        attach(&tree, "/proc")?;
    } else if let Some(proc) = &early.proc {
        attach(proc, "/proc")?;
    }
    if let Some(terminals) = &early.terminals {
        attach(terminals, "/dev/pts")?;
    }
    make_dir("/work")?;
    let hostname = &finish.spec.hostname;
    small_file("/etc/hostname", &format!("{hostname}\n"));
    small_file(
        "/etc/hosts",
        &format!("127.0.0.1 localhost\n::1 localhost ip6-localhost\n127.0.1.1 {hostname}\n"),
    );
    Ok(())
}

fn new_mount(kind: &str, options: &[(&str, &str)]) -> io::Result<OwnedFd> {
    let named = |e: rustix::io::Errno| {
        io::Error::new(io::Error::from(e).kind(), format!("a new {kind}: {e}"))
    };
    let fs = rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC).map_err(named)?;
    for (key, value) in options {
        rustix::mount::fsconfig_set_string(&fs, *key, *value).map_err(named)?;
    }
    rustix::mount::fsconfig_create(&fs).map_err(named)?;
    let mut attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    if kind != "devpts" {
        attributes |= MountAttrFlags::MOUNT_ATTR_NODEV;
    }
    rustix::mount::fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, attributes).map_err(named)
}

/// Covers parts of a `/proc` that is attached at `proc`, files by the device `null`.
fn mask(proc: &str, null: &str) -> io::Result<()> {
    for name in MASKED_FILES {
        let path = format!("{proc}/{name}");
        if Path::new(&path).exists() {
            rustix::mount::mount_bind(null, &path)?;
        }
    }
    let there = |name: &&&str| Path::new(&format!("{proc}/{name}")).is_dir();
    for name in MASKED_DIRS.iter().filter(there) {
        let empty = new_mount("tmpfs", &[("size", "4k"), ("mode", "555")])?;
        sys::mount_setattr(empty.as_fd(), libc::MOUNT_ATTR_RDONLY, 0, None)?;
        attach(&empty, &format!("{proc}/{name}"))?;
    }
    for name in READ_ONLY_DIRS.iter().filter(there) {
        let path = format!("{proc}/{name}");
        let flags = rustix::mount::OpenTreeFlags::OPEN_TREE_CLONE
            | rustix::mount::OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let tree = rustix::mount::open_tree(CWD, &path, flags)?;
        sys::mount_setattr(tree.as_fd(), libc::MOUNT_ATTR_RDONLY, 0, None)?;
        attach(&tree, &path)?;
    }
    Ok(())
}

/// Writes a file of `/etc` unless the image says otherwise by a symlink or a missing directory.
fn small_file(path: &str, text: &str) {
    let flags =
        OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    if let Ok(fd) = rustix::fs::open(path, flags, Mode::from_raw_mode(0o644)) {
        // Comfort only: a jail without these two files is a jail all the same.
        drop(std::fs::File::from(fd).write_all(text.as_bytes()));
    }
}

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\n\
    runner:x:1000:1000:runner:/home/runner:/bin/sh\n\
    nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n";
const GROUP: &str =
    "root:x:0:\ndaemon:x:1:\ntty:x:5:\nstaff:x:50:\nrunner:x:1000:\nnogroup:x:65534:\n";

/// The skeleton around the host's `/usr`.
fn host_usr_root(loader: Option<Vec<u8>>, zone: Option<Vec<u8>>) -> io::Result<()> {
    for dir in [
        "dev",
        "etc",
        "home",
        "mnt",
        "opt",
        "proc",
        "root",
        "run",
        "srv",
        "sys",
        "tmp",
        "usr",
        "var",
        "var/tmp",
        "var/cache",
        "var/lib",
        "var/log",
        "work",
    ] {
        std::fs::create_dir(format!("/{dir}"))?;
    }
    rustix::fs::chmod("/var/tmp", Mode::from_raw_mode(0o1777))?;
    rustix::fs::chmod("/root", Mode::from_raw_mode(0o700))?;
    for dir in ["bin", "sbin", "lib", "lib32", "lib64", "libx32"] {
        std::os::unix::fs::symlink(format!("usr/{dir}"), format!("/{dir}"))?;
    }
    std::fs::write("/etc/passwd", PASSWD)?;
    std::fs::write("/etc/group", GROUP)?;
    std::fs::write(
        "/etc/nsswitch.conf",
        "passwd: files\ngroup: files\nhosts: files\n",
    )?;
    if let Some(bytes) = loader {
        std::fs::write("/etc/ld.so.cache", bytes)?;
    }
    if let Some(bytes) = zone {
        std::fs::write("/etc/localtime", bytes)?;
    }
    Ok(())
}
