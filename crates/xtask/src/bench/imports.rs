//! The import of a large bundle beside `dd`, from a disk and from memory, and one that was cut off.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use vocab::Clock;

use super::bundles::{Maker, at};
use super::medium::{Device, Memory, bytes_of_file, forget};
use super::samples::{Figure, Row, Samples, mebibytes};
use super::stage::{Stage, milliseconds, plain};
use crate::shell::{run, say};

/// What the large bundle holds, in MiB, some of each: (how many, of which size).
const LARGE: &[(u32, u32)] = &[(2, 1024), (8, 128), (56, 16), (512, 1), (512, 0)];

/// What one import took.
struct Import {
    seconds: f64,
    peak_memory: u64,
    extra_disk: u64,
}

/// What was measured of the imports from one medium.
#[derive(Default)]
struct Turns {
    ours: Vec<f64>,
    /// `dd`, the slower of reading the volumes and of writing as much.
    slower: Vec<f64>,
    /// `dd`, copying them.
    copies: Vec<f64>,
    memory: Vec<f64>,
    disk: Vec<f64>,
}

impl Turns {
    fn take(&mut self, maker: &Maker, stick: &Path) -> Result<()> {
        let (read, write) = (read_all(stick)?, write_all(stick, maker.folder())?);
        let copy = copy_all(stick, maker.folder())?;
        say(&format!(
            "dd: read {read:.1} s, write {write:.1} s, copy {copy:.1} s"
        ));
        self.slower.push(read.max(write));
        self.copies.push(copy);
        let done = import(maker, stick, "data-import")?;
        self.ours.push(done.seconds);
        self.memory.push(mebibytes(done.peak_memory));
        self.disk.push(mebibytes(done.extra_disk));
        Ok(())
    }

    fn rows(&self, name: &str) -> [Row; 2] {
        let slower = ("dd, the slower of read and write", self.slower.as_slice());
        let copy = ("dd, copying it", self.copies.as_slice());
        [
            row(
                name,
                "s",
                &self.ours,
                Some(slower),
                Figure::Ratio(1.0 / 0.9),
            ),
            row(name, "s", &self.ours, Some(copy), Figure::None),
        ]
    }
}

fn row(
    name: &str,
    unit: &'static str,
    ours: &[f64],
    other: Option<(&str, &[f64])>,
    figure: Figure,
) -> Row {
    Row {
        name: name.to_owned(),
        unit: unit.to_owned(),
        ours: Samples::new(ours.to_vec()),
        other: other.map(|(name, values)| (name.to_owned(), Samples::new(values.to_vec()))),
        figure,
    }
}

pub(super) fn large(stage: &mut Stage, samples: usize) -> Result<Vec<Row>> {
    let maker = Maker::new(stage, "large")?;
    let stick = large_bundle(&maker)?;
    let turns = samples.clamp(1, 5);
    let (mut disk, mut memory) = (Turns::default(), Turns::default());
    for _ in 0..turns {
        disk.take(&maker, &stick)?;
    }
    // A stick of its own reads while the disk writes; here one disk does both, and so a second
    // measurement reads from memory.
    let held = Memory::holding(&stick, &maker.folder().join("memory"))?;
    for _ in 0..turns {
        memory.take(&maker, held.place())?;
    }
    drop(held);
    let mut rows = Vec::new();
    rows.extend(memory.rows("import of 4 GiB, the stick in memory"));
    rows.extend(disk.rows("import of 4 GiB, from and to one disk"));
    let most = |limit| Figure::Most(limit, limit);
    rows.push(row(
        "  its peak memory",
        "MiB",
        &disk.memory,
        None,
        most(96.0),
    ));
    rows.push(row("  its extra disk", "MiB", &disk.disk, None, most(64.0)));
    match cut_off(&maker, &stick) {
        Ok(again) => rows.push(row(
            "read again after a pulled stick",
            "MiB",
            &[mebibytes(again)],
            None,
            most(64.0),
        )),
        Err(error) => say(&format!(
            "not measured: an import that is cut off: {error:#}"
        )),
    }
    Ok(rows)
}

/// A bundle of 4 GiB that no compression makes smaller, on the disk that is measured.
fn large_bundle(maker: &Maker) -> Result<PathBuf> {
    let content = maker.folder().join("content");
    fs::create_dir_all(&content)?;
    let mut noise = fs::File::open("/dev/urandom")?;
    let mut names = Vec::new();
    for (count, mebibytes) in LARGE {
        for number in 0..*count {
            let name = format!("m{mebibytes}-{number:03}");
            // Those of no MiB have 64 KiB.
            let size = (u64::from(*mebibytes) << 20).max(64 << 10);
            let mut file = fs::File::create(content.join(&name))?;
            std::io::copy(&mut (&mut noise).take(size), &mut file)?;
            names.push(name);
        }
    }
    let stick = maker.make(&maker.recipe_of_files(&names)?, "stick", &[])?;
    fs::remove_dir_all(&content)?;
    Ok(stick)
}

fn volumes(stick: &Path) -> Result<Vec<PathBuf>> {
    let mut found: Vec<PathBuf> = fs::read_dir(stick)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|kind| kind == "tar"))
        .collect();
    found.sort();
    Ok(found)
}

/// Takes every volume out of the page cache.
fn cold(stick: &Path) -> Result<()> {
    volumes(stick)?.iter().try_for_each(|path| forget(path))
}

fn dd(words: &[String]) -> Result<f64> {
    let took = milliseconds(|| {
        run(Command::new("dd")
            .args(["bs=1M", "status=none"])
            .args(words))
    })?;
    Ok(took / 1000.0)
}

fn read_all(stick: &Path) -> Result<f64> {
    cold(stick)?;
    let mut sum = 0.0;
    for path in volumes(stick)? {
        sum += dd(&[format!("if={}", path.display()), "of=/dev/null".to_owned()])?;
    }
    Ok(sum)
}

/// As many bytes of zeros, made durable.
fn write_all(stick: &Path, folder: &Path) -> Result<f64> {
    let out = folder.join("raw");
    let bytes: u64 = volumes(stick)?.iter().map(|path| bytes_of_file(path)).sum();
    let took = dd(&[
        "if=/dev/zero".to_owned(),
        format!("of={}", out.display()),
        format!("count={}", bytes >> 20),
        "conv=fsync".to_owned(),
    ])?;
    fs::remove_file(out)?;
    Ok(took)
}

/// What an import cannot help doing: the volumes read and written on one disk, made durable.
fn copy_all(stick: &Path, folder: &Path) -> Result<f64> {
    cold(stick)?;
    let out = folder.join("raw");
    let mut sum = 0.0;
    for path in volumes(stick)? {
        sum += dd(&[
            format!("if={}", path.display()),
            format!("of={}", out.display()),
            "conv=fsync".to_owned(),
        ])?;
        fs::remove_file(&out)?;
    }
    Ok(sum)
}

fn import(maker: &Maker, stick: &Path, name: &str) -> Result<Import> {
    let mut appliance = maker.appliance(name)?;
    cold(stick)?;
    let data = appliance.data().to_owned();
    let before = free_bytes(&data)?;
    let (lowest, done) = (AtomicU64::new(before), AtomicBool::new(false));
    let words = ["bundle", "import", at(stick)?];
    let took = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                lowest.fetch_min(free_bytes(&data).unwrap_or(u64::MAX), Ordering::Relaxed);
                Clock::sleep(Duration::from_millis(20));
            }
        });
        let took = milliseconds(|| appliance.ok(&words).map(drop).map_err(plain));
        done.store(true, Ordering::Relaxed);
        took
    })?;
    let peak_memory = high_water(appliance.server().map_err(plain)?.id())?;
    appliance.stop().map_err(plain)?;
    let payload: u64 = volumes(stick)?.iter().map(|path| bytes_of_file(path)).sum();
    fs::remove_dir_all(&data)?;
    Ok(Import {
        seconds: took / 1000.0,
        peak_memory,
        extra_disk: before
            .saturating_sub(lowest.into_inner())
            .saturating_sub(payload),
    })
}

/// An import whose stick and server are gone half-way; how many bytes more than the volumes have
/// were read off the stick when it is over.
fn cut_off(maker: &Maker, stick: &Path) -> Result<u64> {
    let payload: u64 = volumes(stick)?.iter().map(|path| bytes_of_file(path)).sum();
    let mut appliance = maker.appliance("data-cut")?;
    let device = Device::holding(stick, maker.folder())?;
    let base = device.bytes_read()?;
    let mut client = appliance
        .command(&["bundle", "import", at(device.place())?])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    while device.bytes_read()? - base < payload / 2 {
        if let Some(status) = client.try_wait()? {
            bail!("the import ended before it was cut off, with {status}");
        }
        Clock::sleep(Duration::from_millis(2));
    }
    appliance.crash().map_err(plain)?;
    client.wait()?;
    let first = device.bytes_read()? - base;
    drop(device);
    appliance.start().map_err(plain)?;
    let device = Device::holding(stick, maker.folder())?;
    let base = device.bytes_read()?;
    appliance
        .ok(&["bundle", "import", at(device.place())?])
        .map_err(plain)?;
    let second = device.bytes_read()? - base;
    appliance.stop().map_err(plain)?;
    fs::remove_dir_all(appliance.data())?;
    Ok((first + second).saturating_sub(payload))
}

fn free_bytes(dir: &Path) -> Result<u64> {
    let room = rustix::fs::statvfs(dir)?;
    Ok(room.f_bavail * room.f_frsize)
}

/// The most memory that a process has had.
fn high_water(id: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{id}/status"))?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .context("the kernel does not tell")?;
    let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kibibytes << 10)
}
