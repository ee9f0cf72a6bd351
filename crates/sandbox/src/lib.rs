//! One jail: a disposable, isolated place on this host in which untrusted commands run.
//!
//! This crate alone holds `unsafe`; it is synchronous and sees only `vocab`.
//!
//! ```text
//! main():  sandbox::dispatch_reexec();              // first line; never returns in a re-exec
//!          let launcher = Launcher::start(&LauncherConfig::new())?;   // as root, before threads
//!          /* drop privileges, start threads */
//! a job:   let jail = launcher.create(&JailSpec::new(Root::Layers(layers)))?;
//!          jail.unpack_tar("/work", archive, (0, 0))?;
//!          let exec = jail.exec(ExecSpec { argv, env, cwd, stdout: Some(pipe), .. })?;
//!          let status = exec.wait(Some(timeout));    // exec.kill(SIGTERM)
//!          let (facts, usage) = (jail.facts()?, jail.usage()?);
//!          let residue = jail.destroy()?;            // residue.is_clean()
//! ```
//!
//! Processes: the caller (any threads, no privileges) → the launcher (root, one thread) → one init
//! per jail (PID 1 of its pid namespace, our own code) → the job's commands, under the lockdown.
//! If the launcher ends, every jail ends; if the caller ends, the launcher ends.

mod caps;
mod cgroup;
mod error;
mod facts;
mod init;
mod jail;
mod landlock;
mod launcher;
mod probe;
mod procfs;
mod protocol;
mod reexec;
mod seccomp;
mod server;
mod slots;
mod spec;
mod sys;
mod wire;

pub use error::{CreateError, ExecError, FileError, LostError, StartError, UnpackError};
pub use facts::{
    Attempt, CgroupFacts, Facts, Finding, FindingState, IdRange, LandlockFacts, LayerFacts,
    LayerLimits, Mount, Namespace, Residue, Usage, View,
};
pub use jail::{Exec, Jail, pipe};
pub use launcher::Launcher;
pub use probe::probe;
pub use reexec::dispatch_reexec;
pub use server::listen;
pub use slots::check_host as check_ids;
pub use spec::{
    DefenceOff, ExecSpec, ExitStatus, IDS_PER_SLOT, JailSpec, LandlockRules, LauncherConfig,
    Limits, ReadOnlyBind, Root,
};
