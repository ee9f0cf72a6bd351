//! What a host's own guards must know of the program: AppArmor, SELinux and fapolicyd, where the
//! host has them.
//!
//! Each is told apart from its files; where a guard is there and its tool is not, that is said.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;

use sandbox::Finding;

use super::look::{missing, ok};
use super::place::{Place, put, remove};

const PROFILE: &str = "/etc/apparmor.d/cofferdam";
const TRUST: &str = "/etc/fapolicyd/trust.d/cofferdam";
const SELINUX_PATHS: &str = "/opt/cofferdam/versions/[^/]+/cofferdam";

/// Lets the program make user namespaces where unconfined programs may not.
const PROFILE_TEXT: &str = "# Written by `cofferdam install`; removed by `cofferdam uninstall`.\n\
    abi <abi/4.0>,\n\
    include <tunables/global>\n\
    \n\
    profile cofferdam /opt/cofferdam/versions/*/cofferdam flags=(unconfined) {\n  \
      userns,\n\
    }\n";

/// Tells every guard that this host has; one line about each.
pub(crate) fn tell(place: &Place, program: &Path, sha256: &str) -> anyhow::Result<Vec<String>> {
    let mut told = Vec::new();
    if restricts_userns(place) && place.at("/etc/apparmor.d/abi/4.0").exists() {
        let path = place.at(PROFILE);
        put(&path, PROFILE_TEXT.as_bytes(), 0o644)?;
        told.push(said(
            place,
            "AppArmor",
            "apparmor_parser",
            &["--replace", PROFILE],
        ));
    }
    if has_selinux(place) {
        // The rule outlives a relabelling of the host; the label counts now.
        let rule = ["fcontext", "--add", "--type", "bin_t", SELINUX_PATHS];
        told.push(said(place, "SELinux rule", "semanage", &rule));
        let label = ["-R", "/opt/cofferdam"];
        told.push(said(place, "SELinux label", "restorecon", &label));
    }
    if place.at("/etc/fapolicyd").is_dir() {
        let size = fs::metadata(program)
            .with_context(|| format!("cannot read {}", program.display()))?
            .len();
        let line = format!("{} {size} {sha256}\n", program.display());
        let known = fs::read_to_string(place.at(TRUST)).unwrap_or_default();
        if !known.contains(&line) {
            put(&place.at(TRUST), (known + &line).as_bytes(), 0o644)?;
        }
        told.push(said(place, "fapolicyd", "fapolicyd-cli", &["--update"]));
    }
    Ok(told)
}

/// Takes back what [`tell`] told.
pub(crate) fn forget(place: &Place) -> anyhow::Result<Vec<String>> {
    let mut told = Vec::new();
    let profile = place.at(PROFILE);
    if profile.exists() {
        told.push(said(
            place,
            "AppArmor",
            "apparmor_parser",
            &["--remove", PROFILE],
        ));
        remove(&profile).with_context(|| format!("cannot remove {}", profile.display()))?;
    }
    if has_selinux(place) {
        let rule = ["fcontext", "--delete", SELINUX_PATHS];
        told.push(said(place, "SELinux rule", "semanage", &rule));
    }
    let trust = place.at(TRUST);
    if remove(&trust).with_context(|| format!("cannot remove {}", trust.display()))? {
        told.push(said(place, "fapolicyd", "fapolicyd-cli", &["--update"]));
    }
    Ok(told)
}

/// The guards of this host, for `doctor`.
pub(crate) fn look(place: &Place) -> Vec<Finding> {
    let mut rows = Vec::new();
    let again = "run `cofferdam install` again";
    if restricts_userns(place) {
        let name = "AppArmor profile";
        rows.push(match place.at(PROFILE).exists() {
            true => ok(name, format!("{PROFILE} permits user namespaces")),
            false => missing(
                name,
                "user namespaces are restricted, without a profile",
                again,
            ),
        });
    }
    if has_selinux(place) {
        let name = "SELinux label";
        let mut label = [0_u8; 256];
        let program = fs::canonicalize(place.program()).unwrap_or_else(|_| place.program());
        let length = rustix::fs::getxattr(&program, "security.selinux", &mut label).unwrap_or(0);
        let label = String::from_utf8_lossy(&label[..length]);
        let label = label.trim_end_matches('\0');
        rows.push(match label.contains(":bin_t:") {
            true => ok(name, label),
            false => missing(
                name,
                format!("the program is labelled '{label}'"),
                "restorecon -R /opt/cofferdam (after `semanage fcontext`, as install does it)",
            ),
        });
    }
    if place.at("/etc/fapolicyd").is_dir() {
        let name = "fapolicyd";
        rows.push(match place.at(TRUST).exists() {
            true => ok(name, format!("{TRUST} names the program")),
            false => missing(name, "the program is not trusted", again),
        });
    }
    rows
}

fn restricts_userns(place: &Place) -> bool {
    let path = place.at("/proc/sys/kernel/apparmor_restrict_unprivileged_userns");
    fs::read_to_string(path).is_ok_and(|text| text.trim() == "1")
}

fn has_selinux(place: &Place) -> bool {
    place.at("/sys/fs/selinux/enforce").exists()
}

/// Runs a guard's tool on the host itself; elsewhere its files are all.
fn said(place: &Place, guard: &str, tool: &str, words: &[&str]) -> String {
    if !place.is_host() {
        return format!("{guard}: file written");
    }
    let Some(program) = find(tool) else {
        return format!(
            "{guard}: NOT told, there is no {tool}; run `{tool} {}`",
            words.join(" ")
        );
    };
    match Command::new(program).args(words).output() {
        Ok(done) if done.status.success() => format!("{guard}: told"),
        Ok(done) => {
            let words = String::from_utf8_lossy(&done.stderr).trim().to_owned();
            format!("{guard}: {tool} ended with {}: {words}", done.status)
        }
        Err(error) => format!("{guard}: {tool} did not start: {error}"),
    }
}

fn find(tool: &str) -> Option<PathBuf> {
    ["/usr/sbin", "/sbin", "/usr/bin", "/bin"]
        .iter()
        .map(|folder| Path::new(folder).join(tool))
        .find(|path| path.exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_guards_that_a_host_has_are_told_and_all_is_taken_back() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::new(dir.path());
        let program = dir.path().join("program");
        fs::write(&program, "12345").unwrap();
        assert!(tell(&place, &program, "aa").unwrap().is_empty());

        let switch = place.at("/proc/sys/kernel/apparmor_restrict_unprivileged_userns");
        for folder in ["/proc/sys/kernel", "/etc/apparmor.d/abi", "/etc/fapolicyd"] {
            fs::create_dir_all(place.at(folder)).unwrap();
        }
        fs::write(switch, "1\n").unwrap();
        fs::write(place.at("/etc/apparmor.d/abi/4.0"), "").unwrap();
        for _ in 0..2 {
            tell(&place, &program, "aa").unwrap();
        }
        let trusted = fs::read_to_string(place.at(TRUST)).unwrap();
        assert_eq!(trusted, format!("{} 5 aa\n", program.display()));
        assert!(place.at(PROFILE).exists());
        let well = |row: &Finding| row.state == sandbox::FindingState::Ok;
        assert_eq!(look(&place).iter().filter(|row| well(row)).count(), 2);
        forget(&place).unwrap();
        assert!(!place.at(PROFILE).exists() && !place.at(TRUST).exists());
        assert!(!look(&place).iter().any(well));
    }
}
