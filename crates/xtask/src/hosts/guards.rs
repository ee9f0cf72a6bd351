//! What is written for a host's guards, read by their own parsers where Debian has them.
//!
//! SELinux and fapolicyd do not run on these hosts: of SELinux nothing is tried, of fapolicyd the
//! form of its file.

use anyhow::{Result, bail};

use super::story::{LONG, Story};
use crate::shell::say;

/// A host in a folder, with every guard that can be had by a file.
const FOLDER: &str = "/srv/guarded";

impl Story {
    /// Units, AppArmor profile and trust file of an installation.
    pub(super) fn guards(&mut self) -> Result<()> {
        let said = self
            .guest
            .ok("systemd-analyze verify /etc/systemd/system/cofferdam*.service")?;
        if !said.is_empty() {
            bail!("systemd finds fault with the units:\n{said}");
        }
        self.guest.ok(&format!(
            "d={FOLDER}; mkdir -p $d/proc/sys/kernel $d/etc/apparmor.d/abi $d/etc/fapolicyd && \
             echo 1 > $d/proc/sys/kernel/apparmor_restrict_unprivileged_userns && \
             touch $d/etc/apparmor.d/abi/4.0 $d/etc/subuid $d/etc/subgid && \
             for f in passwd group shadow; do head -1 /etc/$f > $d/etc/$f; done"
        ))?;
        let placed = format!("COFFERDAM_PREFIX={FOLDER} /root/cofferdam");
        self.guest
            .ok_within(&format!("{placed} install --no-start"), LONG)?;
        self.guest.ok(&format!(
            "read -r path size sum < {FOLDER}/etc/fapolicyd/trust.d/cofferdam && \
             test $size = $(stat -c %s $path) && echo \"$sum  $path\" | sha256sum -c --quiet"
        ))?;
        // The words of the profile are younger than the parser of Debian 12.
        let parsed = self.guest.ok(&format!(
            "if test -e /etc/apparmor.d/abi/4.0; then apparmor_parser --skip-kernel-load \
             --skip-cache {FOLDER}/etc/apparmor.d/cofferdam && echo is parsed; \
             else echo cannot be parsed here; fi"
        ))?;
        say(&format!("the AppArmor profile {parsed}"));
        self.guest
            .ok_within(&format!("{placed} uninstall --purge --yes"), LONG)?;
        self.guest.ok(&format!("rm -r {FOLDER}")).map(drop)
    }
}
