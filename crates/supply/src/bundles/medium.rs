//! What is known of the medium that a bundle came on: for the audit log, never for a decision.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use audit::Entry;
use bundle::Manifest;
use bundle::Sealed;

/// Where the device manager says what it knows of block devices, one file each.
const DEVICES: &str = "/run/udev/data";
/// Longest name that is taken down.
const NAME_CHARS: usize = 64;

/// Says in `entry` which medium it was, as far as that can be read.
pub(super) fn told(mut entry: Entry, sealed: &Sealed, manifest: &Manifest) -> Entry {
    let name = sealed.dir.file_name().unwrap_or_default().to_string_lossy();
    entry = entry
        .detail("medium", plain(&name))
        .detail("volumes", manifest.volumes.len())
        .detail(
            "size_bytes",
            manifest.volumes.iter().map(|v| v.size).sum::<u64>(),
        );
    for (key, value) in device(&sealed.dir, Path::new(DEVICES)) {
        entry = entry.detail(key, value);
    }
    entry
}

/// File system, its id and the device's serial number, of what `dir` lies on.
fn device(dir: &Path, devices: &Path) -> Vec<(&'static str, String)> {
    let Ok(facts) = std::fs::metadata(dir) else {
        return Vec::new();
    };
    let (major, minor) = (
        rustix::fs::major(facts.dev()),
        rustix::fs::minor(facts.dev()),
    );
    let text = std::fs::read_to_string(devices.join(format!("b{major}:{minor}")));
    let text = text.unwrap_or_default();
    let value = |name: &str| {
        let mut lines = text.lines().filter_map(|line| line.strip_prefix("E:"));
        let found = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix('='))?;
        Some(plain(found)).filter(|value| !value.is_empty())
    };
    [
        ("fs", "ID_FS_TYPE"),
        ("fs_uuid", "ID_FS_UUID"),
        ("serial", "ID_SERIAL_SHORT"),
    ]
    .into_iter()
    .filter_map(|(key, name)| Some((key, value(name)?)))
    .collect()
}

fn plain(text: &str) -> String {
    text.chars()
        .filter(char::is_ascii_graphic)
        .take(NAME_CHARS)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_device_manager_knows_is_told_and_nothing_else() {
        let devices = tempfile::tempdir().unwrap();
        assert!(device(devices.path(), devices.path()).is_empty());
        let dev = std::fs::metadata(devices.path()).unwrap().dev();
        let name = format!("b{}:{}", rustix::fs::major(dev), rustix::fs::minor(dev));
        let known = "S:disk/by-uuid/1A2B\nE:ID_FS_UUID=1A2B-3C4D\nE:ID_FS_TYPE=vfat\n\
                     E:ID_SERIAL_SHORT=\u{1b}[31m0042\nE:ID_MODEL=Stick\n";
        std::fs::write(devices.path().join(name), known).unwrap();
        let told = device(devices.path(), devices.path());
        let words: Vec<(&str, &str)> = told.iter().map(|(k, v)| (*k, v.as_str())).collect();
        assert_eq!(
            words,
            [
                ("fs", "vfat"),
                ("fs_uuid", "1A2B-3C4D"),
                ("serial", "[31m0042")
            ]
        );
    }
}
