//! Making one jail: a slot, a control group, an init in fresh namespaces, file systems for it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use super::root::{self, Files};
use super::{Held, Server, stage, userns};
use crate::cgroup::Cgroup;
use crate::error::CreateError;
use crate::protocol::{Begin, Finish, LayerDir};
use crate::slots::Slot;
use crate::spec::{DefenceOff, JailSpec, Root};
use crate::sys::Cloned;
use crate::wire::{Channel, FDS};

/// A jail that its init is completing.
pub(super) struct Made {
    slot: Slot,
    spec: JailSpec,
    setup: Channel,
    pid: i32,
    pidfd: OwnedFd,
    cgroup: Cgroup,
    files: Files,
    layer: Option<PathBuf>,
}

impl Made {
    pub(super) fn into_held(self, warden: Channel) -> Held {
        Held {
            slot: self.slot,
            spec: self.spec,
            warden,
            setup: self.setup,
            pid: self.pid,
            pidfd: self.pidfd,
            cgroup: self.cgroup,
            files: self.files,
            layer: self.layer,
            ending: false,
            dead: false,
        }
    }
}

/// An init in its namespaces that waits to be told the rest.
pub(super) struct Half {
    slot: Slot,
    userns: OwnedFd,
    setup: Channel,
    pid: i32,
    pidfd: OwnedFd,
    cgroup: Cgroup,
}

fn check(server: &Server, spec: &JailSpec) -> Result<(), CreateError> {
    let refused = |why: &str| {
        Err(CreateError::Refused {
            why: why.to_owned(),
        })
    };
    if !spec.off.is_none() && !server.config.allow_controls {
        return refused("this launcher leaves no layer of isolation out");
    }
    if spec.binds.len() > FDS / 2 {
        return refused("more than 32 binds");
    }
    if let Root::Layers(layers) = &spec.root
        && layers.len() > 80
    {
        return refused("an image of more than 80 layers");
    }
    if spec
        .binds
        .iter()
        .any(|b| !b.target.starts_with('/') || b.target.contains(".."))
    {
        return refused("a bind's target is an absolute path");
    }
    let hostname = spec.hostname.as_bytes();
    if hostname.is_empty() || hostname.len() > 63 {
        return refused("a host name has 1 to 63 letters");
    }
    if spec.limits.memory_bytes < 4 << 20 || spec.limits.pids < 4 || spec.limits.disk_bytes < 4096 {
        return refused("a jail needs 4 MiB of memory, 4 processes and a page of disk");
    }
    Ok(())
}

pub(super) fn jail(
    server: &mut Server,
    spec: JailSpec,
    layer: Option<LayerDir>,
    init: Channel,
) -> Result<Made, CreateError> {
    check(server, &spec)?;
    let layer = layer
        .map(|at| root::layer_dir(&server.config, &at.parent, &at.name))
        .transpose()
        .map_err(stage("the layer's directory"))?;
    let ready = if spec.off.is_none() {
        server.warm.pop()
    } else {
        None
    };
    let half = match ready {
        Some(half) => half,
        None => half(server, &spec.off)?,
    };
    if !spec.off.cgroup
        && let Err(e) = half.cgroup.limit(&spec.limits)
    {
        give_up(&half);
        return Err(stage("the control group's limits")(e));
    }
    let userns = if spec.off.user_namespace {
        None
    } else {
        Some(half.userns.as_fd())
    };
    let base = root::base_of(&half.slot, &spec.off, &server.config);
    let made = root::make(&server.config, &spec, base, userns, layer.as_deref());
    let sent = made
        .map_err(stage("the root file system"))
        .and_then(|(mounts, files)| {
            let jobs = half.cgroup.jobs().map_err(stage("the control group"))?;
            let finish = Finish {
                host_usr: spec.root == Root::HostUsr,
                spec: spec.clone(),
                mounts: mounts.places,
                job_cgroup: jobs.is_some(),
            };
            let mut fds: Vec<BorrowedFd<'_>> = vec![init.as_fd()];
            fds.extend(mounts.fds.iter().map(AsFd::as_fd));
            fds.extend(jobs.iter().map(AsFd::as_fd));
            half.setup.send(&finish, &fds).map_err(stage("the init"))?;
            Ok(files)
        });
    match sent {
        Ok(files) => {
            let Half {
                slot,
                setup,
                pid,
                pidfd,
                cgroup,
                userns: _,
            } = half;
            Ok(Made {
                slot,
                spec,
                setup,
                pid,
                pidfd,
                cgroup,
                files,
                layer,
            })
        }
        Err(why) => {
            give_up(&half);
            Err(why)
        }
    }
}

/// Ends an init that will not be used, and removes its group.
pub(super) fn give_up(half: &Half) {
    end(&half.pidfd, &half.cgroup);
}

fn end(pidfd: &OwnedFd, cgroup: &Cgroup) {
    let killed = rustix::process::pidfd_send_signal(pidfd, rustix::process::Signal::KILL);
    let reaped = rustix::process::waitid(
        rustix::process::WaitId::PidFd(pidfd.as_fd()),
        rustix::process::WaitIdOptions::EXITED,
    );
    if let (Err(e), _) | (_, Err(e)) = (killed, reaped) {
        crate::sys::say!("sandbox launcher: an unused init cannot be ended: {e}");
    }
    for left in cgroup.remove() {
        crate::sys::say!("sandbox launcher: control group {} is left", left.display());
    }
}

fn namespaces(off: &DefenceOff) -> u64 {
    let all = [
        (libc::CLONE_NEWNS, false),
        (libc::CLONE_NEWIPC, false),
        (libc::CLONE_NEWUTS, false),
        (libc::CLONE_NEWUSER, off.user_namespace),
        (libc::CLONE_NEWPID, off.pid_namespace),
        (libc::CLONE_NEWNET, off.network_namespace),
    ];
    let on = all
        .into_iter()
        .filter(|(_, off)| !off)
        .fold(0, |flags, (flag, _)| flags | flag);
    u64::try_from(on).expect("positive flags")
}

/// Clones an init and lets it do what needs no request.
pub(super) fn half(server: &Server, off: &DefenceOff) -> Result<Half, CreateError> {
    let slot = server
        .slots
        .take()
        .map_err(stage("the slot's lock"))?
        .ok_or(CreateError::NoSlot {
            slots: server.slots.count(),
        })?;
    let cgroup = server
        .hierarchy
        .create(&format!("slot-{}", slot.base))
        .map_err(stage("the control group"))?;
    let (setup, theirs) = Channel::pair().map_err(stage("the init's channel"))?;
    let warden = (!off.user_namespace && !off.init_guard).then(|| slot.warden());
    let into = cgroup.clone_into().map(AsFd::as_fd);
    match userns::clone_init(namespaces(off), into, warden) {
        Ok(Cloned::Child) => crate::init::main(theirs),
        Ok(Cloned::Parent { pid, pidfd }) => {
            let base = root::base_of(&slot, off, &server.config);
            match complete(base, off, pid, &cgroup, &setup) {
                Ok(userns) => Ok(Half {
                    slot,
                    userns,
                    setup,
                    pid,
                    pidfd,
                    cgroup,
                }),
                Err(e) => {
                    end(&pidfd, &cgroup);
                    Err(stage("the init's ids or control group")(e))
                }
            }
        }
        Err(e) => {
            for left in cgroup.remove() {
                crate::sys::say!("sandbox launcher: control group {} is left", left.display());
            }
            Err(CreateError::Mandatory {
                layer: "a set of user, mount, pid and network namespaces".to_owned(),
                why: e.to_string(),
            })
        }
    }
}

/// Sets the ids and the control group of a fresh init; its user namespace.
fn complete(
    base: u32,
    off: &DefenceOff,
    pid: i32,
    cgroup: &Cgroup,
    setup: &Channel,
) -> io::Result<OwnedFd> {
    cgroup.adopt(pid)?;
    // When the host itself runs out of memory, jobs go before the appliance.
    std::fs::write(format!("/proc/{pid}/oom_score_adj"), "500")?;
    if !off.user_namespace {
        userns::map_ids(pid, base)?;
    }
    setup.send(&Begin { off: *off }, &[])?;
    userns::of(pid)
}
