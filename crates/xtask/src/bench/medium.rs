//! A folder as a stick: a file system on a block device of its own, whose reads the kernel counts,
//! or in memory, whose reads cost no disk.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use rustix::fs::{Advice, fadvise};

use crate::shell::{read, run, say};

/// What the kernel counts in, whatever the device's own sectors are.
const SECTOR_BYTES: u64 = 512;

/// A loop device with a read-only file system, mounted; both end when it is dropped.
pub(super) struct Device {
    name: String,
    place: PathBuf,
}

impl Device {
    /// A device that holds what is in `content`, made under `folder`.
    pub(super) fn holding(content: &Path, folder: &Path) -> Result<Self> {
        let image = folder.join("stick.img");
        if !image.exists() {
            let mut bytes = 0;
            for entry in fs::read_dir(content)? {
                bytes += entry?.metadata()?.len();
            }
            let mebibytes = (bytes >> 20) + (bytes >> 24) + 64;
            run(Command::new("mke2fs")
                .args(["-q", "-t", "ext4", "-O", "^has_journal", "-d"])
                .arg(content)
                .arg(&image)
                .arg(format!("{mebibytes}M")))?;
        }
        forget(&image)?;
        let said = read(
            Command::new("losetup")
                .args(["--find", "--show", "--read-only", "--direct-io=on"])
                .arg(&image),
        )?;
        let device = Self {
            name: said.trim().to_owned(),
            place: folder.join("stick.mounted"),
        };
        fs::create_dir_all(&device.place)?;
        run(Command::new("mount")
            .args(["-o", "ro"])
            .arg(&device.name)
            .arg(&device.place))?;
        Ok(device)
    }

    /// Where it is mounted.
    pub(super) fn place(&self) -> &Path {
        &self.place
    }

    /// How much was read off it since it came.
    pub(super) fn bytes_read(&self) -> Result<u64> {
        let name = self.name.trim_start_matches("/dev/");
        let text = fs::read_to_string(format!("/sys/block/{name}/stat"))?;
        let sectors: u64 = text
            .split_whitespace()
            .nth(2)
            .context("the kernel counts no reads")?
            .parse()?;
        Ok(sectors * SECTOR_BYTES)
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        for (program, what) in [("umount", at(&self.place)), ("losetup", self.name.clone())] {
            let mut command = Command::new(program);
            if program == "losetup" {
                command.arg("--detach");
            }
            if let Err(error) = run(command.arg(what)) {
                say(&format!("a stick stays: {error:#}"));
            }
        }
    }
}

/// A copy of a folder in memory, gone when it is dropped.
pub(super) struct Memory {
    place: PathBuf,
}

impl Memory {
    /// A copy of what is in `content`, mounted at `place`.
    pub(super) fn holding(content: &Path, place: &Path) -> Result<Self> {
        fs::create_dir_all(place)?;
        run(Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=90%", "cofferdam-bench"])
            .arg(place))?;
        let held = Self {
            place: place.to_owned(),
        };
        for entry in fs::read_dir(content)? {
            let entry = entry?;
            fs::copy(entry.path(), place.join(entry.file_name()))?;
        }
        Ok(held)
    }

    /// Where it is mounted.
    pub(super) fn place(&self) -> &Path {
        &self.place
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        if let Err(error) = run(Command::new("umount").arg(&self.place)) {
            say(&format!("a copy in memory stays: {error:#}"));
        }
    }
}

fn at(path: &Path) -> String {
    path.display().to_string()
}

/// Takes a file out of the page cache.
pub(super) fn forget(path: &Path) -> Result<()> {
    let file = File::open(path)?;
    file.sync_all()?;
    Ok(fadvise(&file, 0, None, Advice::DontNeed)?)
}

/// How long a file is; nothing when it is not there.
pub(super) fn bytes_of_file(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |meta| meta.len())
}
