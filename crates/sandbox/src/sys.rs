//! The system calls that no safe wrapper offers. All raw calls of the crate are here.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// A line on standard error, which may be gone: unlike `eprintln!` this never panics.
macro_rules! say {
    ($($words:tt)*) => {
        drop(std::io::Write::write_fmt(
            &mut std::io::stderr(),
            format_args!("{}\n", format_args!($($words)*)),
        ))
    };
}
pub(crate) use say;

/// The C library's constant has the wrong type.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Result of [`clone_process`].
pub(crate) enum Cloned {
    /// In the new process.
    Child,
    /// In the old one.
    Parent { pid: i32, pidfd: OwnedFd },
}

fn check(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// `clone3` without a new stack or shared memory: a fork with namespaces, straight into a cgroup.
///
/// Only for a process with one thread; both the launcher and init have one.
pub(crate) fn clone_process(flags: u64, cgroup: Option<BorrowedFd<'_>>) -> io::Result<Cloned> {
    let mut pidfd: RawFd = -1;
    // SAFETY: clone_args is plain old data for which all zeroes is valid.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = flags | u64::try_from(libc::CLONE_PIDFD).expect("a positive constant");
    args.pidfd = u64::try_from((&raw mut pidfd).addr()).expect("an address fits");
    args.exit_signal = u64::try_from(libc::SIGCHLD).expect("a positive constant");
    if let Some(fd) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = u64::try_from(fd.as_raw_fd()).expect("descriptors are positive");
    }
    // SAFETY: the arguments are initialised and of the size given, no memory is shared with the
    // child and the stack is copied, so it goes on as after fork; the caller has one thread.
    let pid = check(unsafe {
        libc::syscall(
            libc::SYS_clone3,
            &raw mut args,
            size_of::<libc::clone_args>(),
        )
    })?;
    if pid == 0 {
        return Ok(Cloned::Child);
    }
    // SAFETY: the kernel stored a fresh descriptor there, which nobody else owns.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok(Cloned::Parent {
        pid: i32::try_from(pid).expect("process ids are i32"),
        pidfd,
    })
}

/// Ends this process at once: no destructors, no output flushed.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: _exit has no preconditions and does not return.
    unsafe { libc::_exit(code) }
}

/// Closes every descriptor from `first` on.
pub(crate) fn close_from(first: RawFd) -> io::Result<()> {
    // SAFETY: only descriptors that the caller gives up are closed; the numbers are not used again.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, 0) }).map(|_| ())
}

/// Marks every descriptor from `first` on as closed by exec.
pub(crate) fn close_on_exec_from(first: RawFd) -> io::Result<()> {
    let flag = libc::CLOSE_RANGE_CLOEXEC;
    // SAFETY: only a flag of the descriptors changes.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, flag) })
        .map(|_| ())
}

/// `dup2` onto a number that this process sets aside for it.
pub(crate) fn dup_onto(fd: BorrowedFd<'_>, number: RawFd) -> io::Result<()> {
    // SAFETY: both are plain numbers; the callers own `number` (0 to 3 of a fresh child).
    check(unsafe { libc::dup2(fd.as_raw_fd(), number) }.into()).map(|_| ())
}

/// Takes over a descriptor number that was handed down to this process.
pub(crate) fn adopt(number: RawFd) -> OwnedFd {
    // SAFETY: the callers do it once, at their start, for the number set aside for them.
    unsafe { OwnedFd::from_raw_fd(number) }
}

/// Changes the attributes of a mount: sets `set`, clears `clear`, maps ids by `userns`.
pub(crate) fn mount_setattr(
    mount: BorrowedFd<'_>,
    set: u64,
    clear: u64,
    userns: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    let attr = libc::mount_attr {
        attr_set: set
            | if userns.is_some() {
                libc::MOUNT_ATTR_IDMAP
            } else {
                0
            },
        attr_clr: clear,
        propagation: 0,
        userns_fd: userns.map_or(0, |fd| {
            u64::try_from(fd.as_raw_fd()).expect("descriptors are positive")
        }),
    };
    // SAFETY: the path is an empty C string, the structure is initialised and of the size given.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attr,
            size_of::<libc::mount_attr>(),
        )
    })
    .map(|_| ())
}

/// Makes the working directory the root of the mount namespace; the old root lies on top of it.
pub(crate) fn pivot_here() -> io::Result<()> {
    // SAFETY: two C strings; the kernel checks everything else.
    check(unsafe { libc::syscall(libc::SYS_pivot_root, c".".as_ptr(), c".".as_ptr()) }).map(|_| ())
}

/// Ids for file access only: what this process makes belongs to them.
pub(crate) fn set_file_ids(uid: u32, gid: u32) -> io::Result<()> {
    // SAFETY: setfsgid and setfsuid take numbers and cannot fail but by leaving the id as it is.
    let now = unsafe {
        libc::syscall(libc::SYS_setfsgid, gid);
        libc::syscall(libc::SYS_setfsuid, uid);
        libc::syscall(libc::SYS_setfsuid, libc::uid_t::MAX)
    };
    if now == libc::c_long::from(uid) {
        Ok(())
    } else {
        Err(io::Error::from_raw_os_error(libc::EPERM))
    }
}

/// Leaves the caller's session keyring for an empty one.
pub(crate) fn fresh_keyring() -> io::Result<()> {
    const JOIN_SESSION_KEYRING: libc::c_int = 1;
    // SAFETY: a null name asks for an anonymous keyring.
    match check(unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, 0_usize) }) {
        Err(e) if e.raw_os_error() == Some(libc::ENOSYS) => Ok(()),
        other => other.map(|_| ()),
    }
}

/// Brings this network namespace's loopback interface up.
pub(crate) fn loopback_up() -> io::Result<()> {
    let socket = rustix::net::socket(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::DGRAM,
        None,
    )?;
    // SAFETY: ifreq is plain old data for which all zeroes is valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(*b"lo") {
        *to = libc::c_char::try_from(from).expect("ASCII");
    }
    request.ifr_ifru.ifru_flags =
        libc::c_short::try_from(libc::IFF_UP | libc::IFF_RUNNING).expect("small flags");
    // SAFETY: SIOCSIFFLAGS reads an ifreq, which this is.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) }.into())
        .map(|_| ())
}

/// Blocks every signal and gives a descriptor that tells of ended children.
pub(crate) fn child_signals() -> io::Result<OwnedFd> {
    // SAFETY: sigset_t is plain old data; the calls only fill and read the local sets.
    unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        check(libc::sigprocmask(libc::SIG_SETMASK, &raw const all, std::ptr::null_mut()).into())?;
        let mut child: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut child);
        libc::sigaddset(&raw mut child, libc::SIGCHLD);
        let fd = libc::signalfd(-1, &raw const child, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK);
        check(fd.into())?;
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

/// Makes this process deaf to the polite signals: it ends when its work does.
pub(crate) fn ignore_polite_signals() {
    for signal in [libc::SIGHUP, libc::SIGINT, libc::SIGTERM, libc::SIGQUIT] {
        // SAFETY: no handler is installed, the signals are only ignored.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}

/// Gives every signal its default effect again and blocks none, as a new program expects.
pub(crate) fn default_signals() -> io::Result<()> {
    /// The kernel's own structure: handler, flags, restorer and mask. All zero is the default.
    const DEFAULT: [u64; 4] = [0; 4];
    const SET_BYTES: usize = 8;
    for signal in (1..=64).filter(|s| ![libc::SIGKILL, libc::SIGSTOP].contains(s)) {
        // SAFETY: the structure has the kernel's layout, and handlers are only reset. The C
        // library's call would refuse its own two signals, which a caller may have ignored.
        check(unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                DEFAULT.as_ptr(),
                std::ptr::null::<u64>(),
                SET_BYTES,
            )
        })?;
    }
    let none = 0_u64;
    // SAFETY: the set is a local of the size given.
    check(unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const none,
            std::ptr::null::<u64>(),
            SET_BYTES,
        )
    })
    .map(|_| ())
}

/// Sends a signal to a process, to a group (below -1) or to all (-1); no such process is no error.
pub(crate) fn kill(pid: i32, signal: i32) -> io::Result<()> {
    // SAFETY: kill takes numbers.
    match check(unsafe { libc::kill(pid, signal) }.into()) {
        Err(e) if e.raw_os_error() == Some(libc::ESRCH) => Ok(()),
        other => other.map(|_| ()),
    }
}

/// One ended child: its id and wait status; none when none has ended.
pub(crate) fn reap() -> io::Result<Option<(i32, i32)>> {
    let mut status = 0;
    // SAFETY: the status goes to a local.
    let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) };
    match check(pid.into()) {
        Ok(0) => Ok(None),
        Ok(_) => Ok(Some((pid, status))),
        Err(e) if e.raw_os_error() == Some(libc::ECHILD) => Ok(None),
        Err(e) => Err(e),
    }
}

/// Loads a seccomp filter for this process and all that come of it.
pub(crate) fn load_seccomp(program: &[libc::sock_filter]) -> io::Result<()> {
    let program = libc::sock_fprog {
        len: u16::try_from(program.len()).map_err(|_| io::ErrorKind::InvalidInput)?,
        filter: program.as_ptr().cast_mut(),
    };
    // SAFETY: the program outlives the call, and the kernel copies it without writing to it.
    check(unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            0,
            &raw const program,
        )
    })
    .map(|_| ())
}

/// Replaces this process by a program; returns only when that failed.
pub(crate) fn exec(program: &CString, argv: &[CString], env: &[CString]) -> io::Error {
    let pointers = |strings: &[CString]| {
        let mut all: Vec<*const libc::c_char> = strings.iter().map(|s| s.as_ptr()).collect();
        all.push(std::ptr::null());
        all
    };
    let (argv, env) = (pointers(argv), pointers(env));
    // SAFETY: both arrays end in a null pointer and live until the call returns, if it does.
    unsafe { libc::execve(program.as_ptr(), argv.as_ptr(), env.as_ptr()) };
    io::Error::last_os_error()
}

/// Attributes of a Landlock ruleset, as far as this program uses them.
#[repr(C)]
pub(crate) struct LandlockRuleset {
    pub(crate) fs: u64,
    pub(crate) net: u64,
}

#[repr(C, packed)]
struct LandlockPath {
    allowed: u64,
    parent: i32,
}

#[repr(C)]
struct LandlockPort {
    allowed: u64,
    port: u64,
}

/// The kernel's Landlock ABI; 0 without Landlock.
pub(crate) fn landlock_abi() -> u32 {
    // SAFETY: a null ruleset with the version flag asks for the ABI only.
    let abi = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, 0_usize, 0_usize, 1_u32) };
    u32::try_from(abi).unwrap_or(0)
}

/// A ruleset that handles `attr`.
pub(crate) fn landlock_ruleset(attr: &LandlockRuleset) -> io::Result<OwnedFd> {
    // Kernels before ABI 4 know only the first field.
    let size = if attr.net == 0 {
        size_of::<u64>()
    } else {
        size_of::<LandlockRuleset>()
    };
    // SAFETY: the structure is initialised and at least of the size given.
    let fd = check(unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            &raw const *attr,
            size,
            0_u32,
        )
    })?;
    let fd = RawFd::try_from(fd).expect("descriptors are i32");
    // SAFETY: a fresh descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Allows `allowed` below the open directory or file.
pub(crate) fn landlock_allow_path(
    ruleset: BorrowedFd<'_>,
    path: BorrowedFd<'_>,
    allowed: u64,
) -> io::Result<()> {
    const PATH_BENEATH: libc::c_int = 1;
    let rule = LandlockPath {
        allowed,
        parent: path.as_raw_fd(),
    };
    // SAFETY: the structure has the layout of landlock_path_beneath_attr and is initialised.
    check(unsafe {
        libc::syscall(
            libc::SYS_landlock_add_rule,
            ruleset.as_raw_fd(),
            PATH_BENEATH,
            &raw const rule,
            0_u32,
        )
    })
    .map(|_| ())
}

/// Allows `allowed` on a TCP port.
pub(crate) fn landlock_allow_port(
    ruleset: BorrowedFd<'_>,
    port: u16,
    allowed: u64,
) -> io::Result<()> {
    const NET_PORT: libc::c_int = 2;
    let rule = LandlockPort {
        allowed,
        port: port.into(),
    };
    // SAFETY: the structure has the layout of landlock_net_port_attr and is initialised.
    check(unsafe {
        libc::syscall(
            libc::SYS_landlock_add_rule,
            ruleset.as_raw_fd(),
            NET_PORT,
            &raw const rule,
            0_u32,
        )
    })
    .map(|_| ())
}

/// Puts this process and all that come of it under the ruleset.
pub(crate) fn landlock_restrict(ruleset: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: a descriptor and a zero flag.
    check(unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), 0_u32) })
        .map(|_| ())
}

/// Sets an extended attribute of an open file, by its descriptor's name in `/proc`.
pub(crate) fn set_xattr(fd: &impl AsFd, name: &str, value: &[u8]) -> io::Result<()> {
    let path = format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd());
    Ok(rustix::fs::setxattr(
        path,
        name,
        value,
        rustix::fs::XattrFlags::empty(),
    )?)
}
