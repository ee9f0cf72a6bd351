//! The appliance's own process: what it may still do once the launcher runs.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::Context;
use rustix::thread::{CapabilitySet, CapabilitySets};

/// Gives up what root may do. The data directory's owner decides who this process becomes; where
/// that is root itself, it stays user 0 with only the capabilities that managing the files of
/// image layers takes. Must be called before any thread starts.
pub(crate) fn drop_privileges(data: &Path) -> anyhow::Result<()> {
    let owner =
        std::fs::metadata(data).with_context(|| format!("cannot read {}", data.display()))?;
    let (uid, gid) = (owner.uid(), owner.gid());
    let failed = || format!("cannot become user {uid}, who owns {}", data.display());
    if uid != 0 {
        let gid = rustix::process::Gid::from_raw(gid);
        let uid = rustix::process::Uid::from_raw(uid);
        rustix::thread::set_thread_groups(&[]).with_context(failed)?;
        rustix::thread::set_thread_res_gid(gid, gid, gid).with_context(failed)?;
        rustix::thread::set_thread_res_uid(uid, uid, uid).with_context(failed)?;
    }
    let kept = if uid == 0 {
        CapabilitySet::DAC_OVERRIDE | CapabilitySet::FOWNER
    } else {
        CapabilitySet::empty()
    };
    let sets = CapabilitySets {
        effective: kept,
        permitted: kept,
        inheritable: CapabilitySet::empty(),
    };
    rustix::thread::set_capabilities(None, sets).context("cannot drop capabilities")?;
    rustix::thread::set_no_new_privs(true).context("cannot set no_new_privs")
}
