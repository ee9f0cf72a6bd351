//! Capabilities: which a job keeps, their names, and dropping the rest.

use std::io;

use rustix::thread::{CapabilitySet, CapabilitySets};

/// What a job's root keeps inside its own user namespace: enough for package managers, `su` and
/// changes of owner; nothing that reaches the network's set-up, tracing or devices.
pub(crate) const JOB_CAPS: [CapabilitySet; 10] = [
    CapabilitySet::CHOWN,
    CapabilitySet::DAC_OVERRIDE,
    CapabilitySet::FOWNER,
    CapabilitySet::FSETID,
    CapabilitySet::KILL,
    CapabilitySet::SETGID,
    CapabilitySet::SETUID,
    CapabilitySet::NET_BIND_SERVICE,
    CapabilitySet::SYS_CHROOT,
    CapabilitySet::SETFCAP,
];

const NAMES: [&str; 41] = [
    "chown",
    "dac_override",
    "dac_read_search",
    "fowner",
    "fsetid",
    "kill",
    "setgid",
    "setuid",
    "setpcap",
    "linux_immutable",
    "net_bind_service",
    "net_broadcast",
    "net_admin",
    "net_raw",
    "ipc_lock",
    "ipc_owner",
    "sys_module",
    "sys_rawio",
    "sys_chroot",
    "sys_ptrace",
    "sys_pacct",
    "sys_admin",
    "sys_boot",
    "sys_nice",
    "sys_resource",
    "sys_time",
    "sys_tty_config",
    "mknod",
    "lease",
    "audit_write",
    "audit_control",
    "setfcap",
    "mac_override",
    "mac_admin",
    "syslog",
    "wake_alarm",
    "block_suspend",
    "audit_read",
    "perfmon",
    "bpf",
    "checkpoint_restore",
];

/// The names of the capabilities in a mask such as `CapEff` of `/proc/PID/status`.
pub(crate) fn names(mask: u64) -> Vec<String> {
    (0..64)
        .filter(|bit| mask >> bit & 1 == 1)
        .map(|bit| {
            NAMES
                .get(bit)
                .map_or_else(|| format!("cap_{bit}"), |n| (*n).to_owned())
        })
        .collect()
}

/// The job's set as one value.
pub(crate) fn job_set() -> CapabilitySet {
    JOB_CAPS
        .into_iter()
        .fold(CapabilitySet::empty(), |all, cap| all | cap)
}

/// Removes from the bounding set everything that a job does not keep, so that no file can give
/// it back. Needs CAP_SETPCAP, so it comes before [`limit`].
pub(crate) fn limit_bounding() -> io::Result<()> {
    let keep = job_set();
    for bit in 0..NAMES.len() {
        let one = CapabilitySet::from_bits_retain(1 << bit);
        if keep.contains(one) {
            continue;
        }
        match rustix::thread::remove_capability_from_bounding_set(one) {
            // A kernel that does not know the capability cannot give it either.
            Ok(()) | Err(rustix::io::Errno::INVAL) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}

/// Leaves exactly `keep` in force for this process.
pub(crate) fn limit(keep: CapabilitySet) -> io::Result<()> {
    rustix::thread::clear_ambient_capability_set()?;
    let sets = CapabilitySets {
        effective: keep,
        permitted: keep,
        inheritable: CapabilitySet::empty(),
    };
    Ok(rustix::thread::set_capabilities(None, sets)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_is_read_by_name() {
        assert_eq!(names(0b1000_0001), ["chown", "setuid"]);
        assert_eq!(names(1 << 40), ["checkpoint_restore"]);
    }

    #[test]
    fn a_job_keeps_nothing_that_makes_devices_or_traces() {
        let names = names(job_set().bits());
        for refused in [
            "mknod",
            "sys_admin",
            "sys_ptrace",
            "net_admin",
            "net_raw",
            "setpcap",
        ] {
            assert!(!names.iter().any(|n| n == refused), "{refused}");
        }
        assert_eq!(names.len(), JOB_CAPS.len());
    }
}
