//! The ids of an init: outside the range that its own user namespace maps.
//!
//! So the job's root is neither its init's owner nor the owner of its own namespace, and can
//! neither trace, read nor signal the init whatever capabilities it has inside.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::process::{Gid, Pid, Signal, Uid};
use rustix::thread::CapabilitiesSecureBits;

use crate::slots::Slot;
use crate::sys::{self, Cloned};

/// Lets this process change its user and come back with its capabilities, and leaves its groups.
pub(super) fn keep_capabilities() -> io::Result<()> {
    rustix::thread::set_thread_groups(&[])?;
    let bits = rustix::thread::capabilities_secure_bits()?;
    let bits = bits | CapabilitiesSecureBits::NO_SETUID_FIXUP;
    Ok(rustix::thread::set_capabilities_secure_bits(bits)?)
}

fn become_ids(uid: u32, gid: u32) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    Ok(rustix::thread::set_thread_res_uid(uid, uid, uid)?)
}

/// Clones the init of a jail with the ids of `warden`; none: with those of this process.
pub(super) fn clone_init(
    flags: u64,
    cgroup: Option<BorrowedFd<'_>>,
    warden: Option<u32>,
) -> io::Result<Cloned> {
    let parent = Parent::now()?;
    if let Some(id) = warden {
        become_ids(id, id)?;
    }
    let cloned = sys::clone_process(flags, cgroup);
    if warden.is_some() && !matches!(cloned, Ok(Cloned::Child)) {
        become_ids(0, 0)?;
        parent.stay_with()?;
    }
    cloned
}

/// Whether this process dies with its parent: the kernel forgets that with each change of ids.
struct Parent {
    pid: Option<Pid>,
    death: Option<Signal>,
}

impl Parent {
    fn now() -> io::Result<Self> {
        Ok(Self {
            pid: rustix::process::getppid(),
            death: rustix::process::parent_process_death_signal()?,
        })
    }

    /// As it was before, also when the parent died meanwhile.
    fn stay_with(&self) -> io::Result<()> {
        let Some(death) = self.death else {
            return Ok(());
        };
        rustix::process::set_parent_process_death_signal(Some(death))?;
        if rustix::process::getppid() != self.pid {
            rustix::process::kill_process(rustix::process::getpid(), death)?;
        }
        Ok(())
    }
}

/// Maps the slot's ids into the user namespace of a process: 0 there is `base` here.
pub(super) fn map_ids(pid: i32, base: u32) -> io::Result<()> {
    let map = format!("0 {base} {}\n", Slot::MAPPED);
    std::fs::write(format!("/proc/{pid}/uid_map"), &map)?;
    std::fs::write(format!("/proc/{pid}/gid_map"), &map)
}

/// The user namespace of a process.
pub(super) fn of(pid: i32) -> io::Result<OwnedFd> {
    Ok(std::fs::File::open(format!("/proc/{pid}/ns/user"))?.into())
}
