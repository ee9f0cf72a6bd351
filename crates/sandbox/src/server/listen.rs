//! The launcher as a service of its own: one launcher process per connected appliance.
//!
//! The settings are the service's; a caller chooses nothing but its jails. Who may connect is
//! decided by the socket's owner and mode, and again by the kernel's word about each caller.

use std::io;
use std::os::unix::fs::chown;
use std::path::Path;

use rustix::fs::Mode;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use rustix::process::Signal;

use crate::spec::LauncherConfig;
use crate::sys::{self, Cloned};
use crate::wire::Channel;

/// Serves appliances that run as the user `owner` on a socket at `path`, until an error ends it;
/// calls `ready` once callers can connect. For a process with one thread, started as root.
pub fn listen(
    config: &LauncherConfig,
    path: &Path,
    owner: u32,
    ready: impl FnOnce(),
) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let flags = SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    // Nobody else may connect in the moment before the owner is set.
    let before = rustix::process::umask(Mode::from_raw_mode(0o177));
    let bound = rustix::net::bind(&socket, &SocketAddrUnix::new(path)?);
    rustix::process::umask(before);
    bound?;
    chown(path, Some(owner), None)?;
    rustix::net::listen(&socket, 16)?;
    ready();
    loop {
        let connection = match rustix::net::accept_with(&socket, flags) {
            Ok(connection) => connection,
            Err(rustix::io::Errno::INTR | rustix::io::Errno::CONNABORTED) => continue,
            Err(e) => return Err(e.into()),
        };
        let caller = rustix::net::sockopt::socket_peercred(&connection)?.uid;
        if caller.as_raw() != owner && !caller.is_root() {
            sys::say!(
                "sandbox launcher: user {} may not ask for jails",
                caller.as_raw()
            );
            continue;
        }
        while sys::reap()?.is_some() {}
        match sys::clone_process(0, None)? {
            Cloned::Child => {
                rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
                drop(socket);
                super::run(Channel::from(connection), Some(config))
            }
            Cloned::Parent { .. } => drop(connection),
        }
    }
}
