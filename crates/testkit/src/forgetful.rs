//! A file system in memory, mounted by FUSE, that forgets what was not synced when its power is
//! cut.
//!
//! Contents become durable by `fsync` of the file, names by `fsync` of the folder. A cut may come
//! at any counted change; from then on every call fails with EIO until the next power-up.

mod disk;
mod names;
mod serve;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fuser::{BackgroundSession, Config, MountOption, SessionACL};

use self::disk::Disk;
use crate::Result;

pub use self::disk::Keep;

/// The state that the mount and the test share.
struct Shared {
    disk: Mutex<Disk>,
}

impl Shared {
    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One disk and its mount.
pub struct Forgetful {
    shared: Arc<Shared>,
    folder: PathBuf,
    session: Option<BackgroundSession>,
}

impl Forgetful {
    /// Mounts an empty disk at the existing folder `folder`. Needs root.
    pub fn mount(folder: &Path) -> Result<Self> {
        let shared = Arc::new(Shared {
            disk: Mutex::new(Disk::empty()),
        });
        let mut disk = Self {
            shared,
            folder: folder.to_owned(),
            session: None,
        };
        disk.attach()?;
        Ok(disk)
    }

    /// Cuts the power when `changes` more changes have been made; each later call fails.
    pub fn cut_after(&self, changes: u64) {
        self.shared.disk().cut_after(changes);
    }

    /// Cuts the power now.
    pub fn cut_now(&self) {
        self.shared.disk().power_off();
    }

    /// Whether the power is off.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.shared.disk().is_off()
    }

    /// Makes everything durable that was done so far, as a quiet minute would.
    pub fn settle(&self) {
        self.shared.disk().settle();
    }

    /// Changes and syncs counted since the disk was made.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        self.shared.disk().counts()
    }

    /// After a cut: keeps what was synced, and of the rest what `keep` says; mounts again.
    /// Whoever used the disk must have ended.
    pub fn power_up(&mut self, keep: Keep) -> Result {
        self.detach();
        self.shared.disk().power_up(keep);
        self.attach()
    }

    fn attach(&mut self) -> Result {
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("forgetful".to_owned())];
        config.acl = SessionACL::All;
        let mount = serve::Mounted::of(&self.shared);
        self.session = Some(fuser::spawn_mount(mount, &self.folder, &config)?);
        Ok(())
    }

    /// Unmounts, and waits for nobody: a private mount namespace that was made meanwhile holds a
    /// copy of the mount, which the next power-up makes powerless.
    fn detach(&mut self) {
        if self.session.take().is_some() {
            // Whoever was killed while using it may still hold it for a moment; a second
            // unmount is refused, which is as good.
            if rustix::mount::unmount(&self.folder, rustix::mount::UnmountFlags::DETACH).is_ok() {
                eprintln!(
                    "{} was still in use when its power was cut",
                    self.folder.display()
                );
            }
        }
    }
}

impl Drop for Forgetful {
    fn drop(&mut self) {
        self.detach();
    }
}
