//! Reading `/proc`: the kernel's own word about a process.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::io;
use std::os::unix::fs::MetadataExt;

use crate::facts::IdRange;

/// One line of `mountinfo`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MountLine {
    /// Device number, `major:minor`.
    pub(crate) device: String,
    pub(crate) target: String,
    pub(crate) options: String,
    pub(crate) kind: String,
    pub(crate) super_options: String,
}

fn path(who: impl Display, file: &str) -> String {
    format!("/proc/{who}/{file}")
}

/// The text of one of its files.
pub(crate) fn text(who: impl Display, file: &str) -> io::Result<String> {
    let bytes = std::fs::read(path(who, file))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// `mountinfo`.
pub(crate) fn mounts(who: impl Display) -> io::Result<Vec<MountLine>> {
    Ok(text(who, "mountinfo")?
        .lines()
        .filter_map(mount_line)
        .collect())
}

fn mount_line(line: &str) -> Option<MountLine> {
    let (left, right) = line.split_once(" - ")?;
    let left: Vec<&str> = left.split(' ').collect();
    let mut right = right.split(' ');
    Some(MountLine {
        device: (*left.get(2)?).to_owned(),
        target: unescape(left.get(4)?),
        options: (*left.get(5)?).to_owned(),
        kind: right.next()?.to_owned(),
        super_options: right.nth(1).unwrap_or_default().to_owned(),
    })
}

/// `mountinfo` writes space, tab, newline and backslash as octal numbers.
fn unescape(text: &str) -> String {
    text.replace("\\040", " ")
        .replace("\\011", "\t")
        .replace("\\012", "\n")
        .replace("\\134", "\\")
}

/// `Name: value` lines of `status`.
pub(crate) fn status(who: impl Display) -> io::Result<BTreeMap<String, String>> {
    Ok(text(who, "status")?
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(k, v)| (k.to_owned(), v.trim().to_owned()))
        .collect())
}

/// `uid_map` or `gid_map`.
pub(crate) fn id_map(who: impl Display, file: &str) -> io::Result<Vec<IdRange>> {
    Ok(text(who, file)?
        .lines()
        .filter_map(|line| {
            let mut n = line.split_whitespace().map(str::parse::<u32>);
            match (n.next(), n.next(), n.next()) {
                (Some(Ok(inside)), Some(Ok(outside)), Some(Ok(count))) => Some(IdRange {
                    inside,
                    outside,
                    count,
                }),
                _ => None,
            }
        })
        .collect())
}

/// Inode number of a namespace.
pub(crate) fn namespace(who: impl Display, kind: &str) -> io::Result<u64> {
    Ok(std::fs::metadata(path(who, &format!("ns/{kind}")))?.ino())
}

/// Path of its cgroup in the hierarchy of `controller` (empty: version 2).
pub(crate) fn cgroup_path(who: impl Display, controller: &str) -> io::Result<String> {
    let found = text(who, "cgroup")?.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':');
        let (id, names, path) = (parts.next()?, parts.next()?, parts.next()?);
        let here = if controller.is_empty() {
            id == "0"
        } else {
            names.split(',').any(|n| n == controller)
        };
        here.then(|| path.to_owned())
    });
    found.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "not in that cgroup hierarchy"))
}

/// Every process id there is.
pub(crate) fn pids() -> io::Result<Vec<u32>> {
    Ok(std::fs::read_dir("/proc")?
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect())
}

/// Interface names and their received and sent bytes, of `net/dev`.
pub(crate) fn interfaces(who: impl Display) -> io::Result<Vec<(String, u64, u64)>> {
    Ok(text(who, "net/dev")?
        .lines()
        .filter_map(|line| {
            let (name, rest) = line.split_once(':')?;
            let n: Vec<u64> = rest
                .split_whitespace()
                .filter_map(|v| v.parse().ok())
                .collect();
            Some((name.trim().to_owned(), *n.first()?, *n.get(8)?))
        })
        .collect())
}

/// Packets without a route, both families.
pub(crate) fn no_routes(who: impl Display) -> io::Result<u64> {
    let snmp = text(&who, "net/snmp")?;
    let mut lines = snmp.lines().filter(|l| l.starts_with("Ip:"));
    let v4 = match (lines.next(), lines.next()) {
        (Some(names), Some(values)) => names
            .split_whitespace()
            .zip(values.split_whitespace())
            .find(|(name, _)| *name == "OutNoRoutes")
            .and_then(|(_, value)| value.parse().ok())
            .unwrap_or(0),
        _ => 0,
    };
    let v6 = text(&who, "net/snmp6").unwrap_or_default();
    let v6: u64 = v6
        .lines()
        .find_map(|l| l.strip_prefix("Ip6OutNoRoutes"))
        .and_then(|v| v.trim().parse().ok())
        .unwrap_or(0);
    Ok(v4 + v6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_line_is_read_with_its_optional_fields_and_escapes() {
        let line = "36 35 98:0 /a /mnt\\040b rw,nosuid shared:1 master:2 - ext4 /dev/x rw,opt";
        let got = mount_line(line).unwrap();
        assert_eq!(got.device, "98:0");
        assert_eq!(got.target, "/mnt b");
        assert_eq!(got.options, "rw,nosuid");
        assert_eq!(
            (got.kind.as_str(), got.super_options.as_str()),
            ("ext4", "rw,opt")
        );
    }

    #[test]
    fn this_process_has_a_map_and_a_loopback() {
        assert!(!id_map("self", "uid_map").unwrap().is_empty());
        assert!(
            interfaces("self")
                .unwrap()
                .iter()
                .any(|(name, _, _)| name == "lo")
        );
        assert_eq!(
            status("self").unwrap()["Pid"],
            std::process::id().to_string()
        );
    }
}
