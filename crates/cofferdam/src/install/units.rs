//! The systemd units: the appliance without any right, the launcher, which keeps root's, and the
//! guard of updates, which runs the version before while a new one is on trial.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};

use super::accounts::NAME;
use super::place::{Place, put, remove};

/// The appliance's unit.
pub(crate) const SERVICE: &str = "cofferdam.service";
/// The launcher's unit.
pub(crate) const LAUNCHER: &str = "cofferdam-launcher.service";

/// The guard's unit.
pub(crate) const GUARD: &str = "cofferdam-update-guard.service";

const FOLDER: &str = "/etc/systemd/system";

/// Every unit, in the order in which they are stopped: a guard would start the others again.
const ALL: [&str; 3] = [GUARD, SERVICE, LAUNCHER];

/// Writes the units; whether one that runs all the time changed.
pub(crate) fn write(place: &Place, data: &Path, port: u16) -> anyhow::Result<bool> {
    let path = |unit: &str| place.at(FOLDER).join(unit);
    put(&path(GUARD), guard_unit().as_bytes(), 0o644)?;
    let launcher = put(&path(LAUNCHER), launcher_unit(data).as_bytes(), 0o644)?;
    let service = put(&path(SERVICE), service_unit(data, port).as_bytes(), 0o644)?;
    Ok(launcher || service)
}

/// Starts launcher and appliance, now and with each start of the host; those that run already are
/// started anew when `changed`. The guard is only enabled: a host that starts during an update
/// needs it, and its conditions keep it quiet at any other time.
pub(crate) fn start(changed: bool) -> anyhow::Result<()> {
    systemctl(&["daemon-reload"])?;
    systemctl(&["enable", "--quiet", GUARD, LAUNCHER, SERVICE])?;
    let verb = if changed { "restart" } else { "start" };
    systemctl(&[verb, LAUNCHER, SERVICE]).with_context(|| {
        format!("the units did not start; `journalctl -u {SERVICE} -u {LAUNCHER}` says why")
    })
}

/// Stops and removes all that are there; whether there was one.
pub(crate) fn withdraw(place: &Place) -> anyhow::Result<bool> {
    let folder = place.at(FOLDER);
    let there: Vec<&str> = ALL
        .into_iter()
        .filter(|unit| folder.join(unit).exists())
        .collect();
    if place.has_systemd() {
        for unit in &there {
            systemctl(&["disable", "--quiet", "--now", unit])?;
        }
    }
    for unit in &there {
        let path = folder.join(unit);
        remove(&path).with_context(|| format!("cannot remove {}", path.display()))?;
    }
    if !there.is_empty() && place.has_systemd() {
        systemctl(&["daemon-reload"])?;
    }
    Ok(!there.is_empty())
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

/// Runs the version before, whatever that is by then; a guard that was killed is followed by
/// another, which carries on.
fn guard_unit() -> &'static str {
    "[Unit]\n\
     Description=Cofferdam: watches a new version, and takes its place back\n\
     ConditionPathExists=/opt/cofferdam/previous/cofferdam\n\
     ConditionPathExists=/opt/cofferdam/update.json\n\
     \n\
     [Service]\n\
     Type=oneshot\n\
     ExecStart=/opt/cofferdam/previous/cofferdam update guard\n\
     Restart=on-failure\n\
     RestartSec=1\n\
     \n\
     [Install]\n\
     WantedBy=multi-user.target\n"
}

/// Before its start the version before counts it, with full rights and whatever comes of that:
/// it may be missing. The stop is shorter than systemd's own, so that a version on trial that
/// does not end is gone back from in time.
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
         ExecStartPre=-+/opt/cofferdam/previous/cofferdam update settle\n\
         ExecStart=/opt/cofferdam/current/cofferdam serve --data {data} --launcher \
         /run/cofferdam/launcher.sock\n\
         Restart=always\n\
         RestartSec=1\n\
         TimeoutStartSec=300\n\
         TimeoutStopSec=20\n\
         WatchdogSec=120\n\
         MemoryMax=50%\n\
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
    fn a_start_is_counted_by_the_version_before_and_memory_has_an_end() {
        let unit = service_unit(Path::new("/srv/c"), 8470);
        let settle = "\nExecStartPre=-+/opt/cofferdam/previous/cofferdam update settle\n";
        assert!(unit.contains(settle), "{unit}");
        assert!(unit.contains("\nMemoryMax=50%\n"), "{unit}");
        let guard = guard_unit();
        assert!(guard.contains("\nExecStart=/opt/cofferdam/previous/cofferdam update guard\n"));
        assert!(guard.contains("\nConditionPathExists=/opt/cofferdam/update.json\n"));
        assert!(guard.contains("\nWantedBy=multi-user.target\n"), "{guard}");
    }

    #[test]
    fn every_unit_is_written_and_taken_away_again() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::new(dir.path());
        let data = Path::new("/srv/c");
        assert!(write(&place, data, 8470).unwrap());
        assert!(!write(&place, data, 8470).unwrap());
        let folder = place.at(FOLDER);
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), ALL.len());
        assert!(withdraw(&place).unwrap());
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
        assert!(!withdraw(&place).unwrap());
        // What an installation before the guard had is taken away as well.
        write(&place, data, 8470).unwrap();
        remove(&folder.join(GUARD)).unwrap();
        assert!(withdraw(&place).unwrap());
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
