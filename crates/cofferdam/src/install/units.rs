//! The two systemd units: the appliance without any right, and the launcher, which keeps root's.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};

use super::accounts::NAME;
use super::place::{Place, put, remove};

/// The appliance's unit.
pub(crate) const SERVICE: &str = "cofferdam.service";
/// The launcher's unit.
pub(crate) const LAUNCHER: &str = "cofferdam-launcher.service";

const FOLDER: &str = "/etc/systemd/system";

/// Writes both units; whether one of them changed.
pub(crate) fn write(place: &Place, data: &Path, port: u16) -> anyhow::Result<bool> {
    let path = |unit: &str| place.at(FOLDER).join(unit);
    let launcher = put(&path(LAUNCHER), launcher_unit(data).as_bytes(), 0o644)?;
    let service = put(&path(SERVICE), service_unit(data, port).as_bytes(), 0o644)?;
    Ok(launcher || service)
}

/// Starts both, now and with each start of the host; those that run already are started anew
/// when `changed`.
pub(crate) fn start(changed: bool) -> anyhow::Result<()> {
    systemctl(&["daemon-reload"])?;
    systemctl(&["enable", "--quiet", LAUNCHER, SERVICE])?;
    let verb = if changed { "restart" } else { "start" };
    systemctl(&[verb, LAUNCHER, SERVICE]).with_context(|| {
        format!("the units did not start; `journalctl -u {SERVICE} -u {LAUNCHER}` says why")
    })
}

/// Stops and removes both; whether there was one.
pub(crate) fn withdraw(place: &Place) -> anyhow::Result<bool> {
    let folder = place.at(FOLDER);
    let there = [SERVICE, LAUNCHER]
        .iter()
        .any(|unit| folder.join(unit).exists());
    if there && place.has_systemd() {
        systemctl(&["disable", "--quiet", "--now", SERVICE, LAUNCHER])?;
    }
    for unit in [SERVICE, LAUNCHER] {
        let path = folder.join(unit);
        remove(&path).with_context(|| format!("cannot remove {}", path.display()))?;
    }
    if there && place.has_systemd() {
        systemctl(&["daemon-reload"])?;
    }
    Ok(there)
}

/// What systemd says of a unit: `active`, `failed`, `inactive`, …
pub(crate) fn state(unit: &str) -> String {
    let asked = Command::new("systemctl").args(["is-active", unit]).output();
    asked.map_or_else(
        |error| format!("unknown: {error}"),
        |said| String::from_utf8_lossy(&said.stdout).trim().to_owned(),
    )
}

fn systemctl(words: &[&str]) -> anyhow::Result<()> {
    let shown = words.join(" ");
    let said = Command::new("systemctl")
        .args(words)
        .output()
        .with_context(|| format!("cannot run `systemctl {shown}`"))?;
    if !said.status.success() {
        let words = String::from_utf8_lossy(&said.stderr);
        bail!(
            "`systemctl {shown}` ended with {}: {}",
            said.status,
            words.trim()
        );
    }
    Ok(())
}

/// A path in a unit file, where `%` begins a specifier and a space ends a word.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string().replace('%', "%%");
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// No ProtectKernelTunables, RestrictNamespaces or filter of mounts here: a read-only `/proc/sys`
/// would make the mount of `/proc` in every job fail.
fn launcher_unit(data: &Path) -> String {
    let data = quoted(data);
    format!(
        "[Unit]\n\
         Description=Cofferdam's launcher: makes the sandboxes of jobs\n\
         \n\
         [Service]\n\
         Type=notify\n\
         ExecStart=/opt/cofferdam/current/cofferdam launcher --data {data} --socket \
         /run/cofferdam/launcher.sock\n\
         Delegate=yes\n\
         RuntimeDirectory=cofferdam\n\
         RuntimeDirectoryMode=0755\n\
         RuntimeDirectoryPreserve=yes\n\
         Restart=always\n\
         RestartSec=1\n\
         TasksMax=infinity\n\
         ProtectHome=yes\n\
         ProtectClock=yes\n\
         \n\
         [Install]\n\
         WantedBy=multi-user.target\n"
    )
}

fn service_unit(data: &Path, port: u16) -> String {
    let path = data.display().to_string().replace('%', "%%");
    let data = quoted(data);
    let capability = if port != 0 && port < 1024 {
        "CAP_NET_BIND_SERVICE"
    } else {
        ""
    };
    format!(
        "[Unit]\n\
         Description=Cofferdam: forge, queue and runners\n\
         Requires={LAUNCHER}\n\
         After={LAUNCHER} network.target\n\
         \n\
         [Service]\n\
         Type=notify\n\
         User={NAME}\n\
         Group={NAME}\n\
         ExecStart=/opt/cofferdam/current/cofferdam serve --data {data} --launcher \
         /run/cofferdam/launcher.sock\n\
         Restart=always\n\
         RestartSec=1\n\
         TimeoutStartSec=300\n\
         WatchdogSec=120\n\
         LimitNOFILE=65536\n\
         UMask=0077\n\
         AmbientCapabilities={capability}\n\
         CapabilityBoundingSet={capability}\n\
         NoNewPrivileges=yes\n\
         ProtectSystem=strict\n\
         ReadWritePaths=\"{path}\"\n\
         ProtectHome=read-only\n\
         ProtectClock=yes\n\
         ProtectControlGroups=yes\n\
         ProtectHostname=yes\n\
         ProtectKernelLogs=yes\n\
         ProtectKernelModules=yes\n\
         ProtectKernelTunables=yes\n\
         PrivateDevices=yes\n\
         PrivateTmp=yes\n\
         RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6\n\
         RestrictNamespaces=yes\n\
         RestrictRealtime=yes\n\
         RestrictSUIDSGID=yes\n\
         LockPersonality=yes\n\
         MemoryDenyWriteExecute=yes\n\
         SystemCallArchitectures=native\n\
         SystemCallFilter=@system-service\n\
         \n\
         [Install]\n\
         WantedBy=multi-user.target\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_low_port_takes_its_one_capability_and_a_high_one_none() {
        let low = service_unit(Path::new("/srv/c"), 443);
        assert!(low.contains("\nCapabilityBoundingSet=CAP_NET_BIND_SERVICE\n"));
        let high = service_unit(Path::new("/srv/c"), 8470);
        assert!(high.contains("\nCapabilityBoundingSet=\n"));
    }

    #[test]
    fn a_path_with_a_space_and_a_percent_sign_stays_one_word() {
        assert_eq!(quoted(Path::new("/srv/a b%c")), "\"/srv/a b%%c\"");
    }

    #[test]
    fn the_launcher_may_mount_and_make_namespaces() {
        let unit = launcher_unit(Path::new("/srv/c"));
        for word in [
            "ProtectKernelTunables",
            "RestrictNamespaces",
            "SystemCallFilter",
        ] {
            assert!(!unit.contains(word), "{word}");
        }
        assert!(unit.contains("\nDelegate=yes\n"));
    }
}
