//! Bundles: the verdict, the import beside `dd`, an import that was cut off, and what an unchanged
//! recipe costs to carry again.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use testkit::appliance::Appliance;
use vocab::Clock;

use super::medium::{Device, bytes_of_file, forget};
use super::samples::{Figure, Row, Samples, mebibytes};
use super::stage::{Stage, milliseconds, plain};
use crate::demo::carried::{Connected, shared_cache};
use crate::shell::{run, say};

/// What the large bundle holds, in MiB, some of each: (how many, of which size).
const LARGE: &[(u32, u32)] = &[(2, 1024), (8, 128), (56, 16), (512, 1), (512, 0)];

/// The connected side in a folder of its own.
pub(super) struct Maker {
    pub(super) connected: Connected,
}

impl Maker {
    /// With a cache of its own: what is measured is large, and nobody asks for it again.
    pub(super) fn new(stage: &Stage, name: &str) -> Result<Self> {
        let folder = stage.folder.join(name);
        let cache = folder.join("cache");
        let connected = Connected::set_up(&folder, &stage.binary, &cache)?;
        Ok(Self { connected })
    }

    /// Its folder.
    pub(super) fn folder(&self) -> &Path {
        &self.connected.folder
    }

    /// Locks `recipe`, and builds and signs its bundle into `folder/out`; the bundle's folder.
    pub(super) fn make(&self, recipe: &Path, out: &str, words: &[&str]) -> Result<PathBuf> {
        self.connected
            .bundle(recipe, &self.folder().join(out), words)
    }

    /// A new appliance `name` that trusts this side's root, and serves.
    pub(super) fn appliance(&self, name: &str) -> Result<Appliance> {
        let mut appliance =
            Appliance::init(&self.connected.binary, &self.folder().join(name)).map_err(plain)?;
        appliance.start().map_err(plain)?;
        appliance
            .ok(&["bundle", "trust", &self.connected.fingerprint])
            .map_err(plain)?;
        Ok(appliance)
    }

    /// Writes a recipe of files under `content/`, named as they are.
    fn recipe_of_files(&self, names: &[String]) -> Result<PathBuf> {
        use std::fmt::Write;
        let mut text = String::from(
            "[bundle]\nproduct = \"lab\"\nchannel = \"stable\"\narch = [\"amd64\"]\n\
             volume = \"4GB\"\nnot_after = \"6mo\"\n",
        );
        for name in names {
            write!(
                text,
                "[[file]]\nname = \"{name}\"\npath = \"content/{name}\"\n"
            )?;
        }
        let path = self.folder().join("recipe.toml");
        fs::write(&path, text)?;
        Ok(path)
    }
}

fn at(path: &Path) -> Result<&str> {
    path.to_str().context("the path is no text")
}

pub(super) fn verdict(stage: &mut Stage, samples: usize) -> Result<Vec<Row>> {
    let maker = Maker::new(stage, "verdict")?;
    let content = maker.folder().join("content");
    fs::create_dir_all(&content)?;
    let mut names = Vec::new();
    for number in 0..10_000 {
        let name = format!("file-{number:05}");
        fs::write(content.join(&name), format!("{number}\n"))?;
        names.push(name);
    }
    let stick = maker.make(&maker.recipe_of_files(&names)?, "stick", &[])?;
    let mut appliance = maker.appliance("data")?;
    let words = ["bundle", "verify", at(&stick)?];
    let mut values = Vec::new();
    for _ in 0..samples {
        values.push(milliseconds(|| {
            appliance.ok(&words).map(drop).map_err(plain)
        })?);
    }
    appliance.stop().map_err(plain)?;
    Ok(vec![Row {
        name: "`bundle verify`, 10,000 blobs".to_owned(),
        unit: "ms",
        ours: Samples::new(values),
        other: None,
        figure: Figure::Most(50.0, 50.0),
    }])
}

/// Kilobytes in a MiB.
const MEBIBYTE_KB: f64 = 1048.576;

/// What one import took.
struct Import {
    seconds: f64,
    peak_memory: u64,
    extra_disk: u64,
}

pub(super) fn large(stage: &mut Stage, samples: usize) -> Result<Vec<Row>> {
    let maker = Maker::new(stage, "large")?;
    let stick = large_bundle(&maker)?;
    let turns = samples.clamp(1, 3);
    let (mut ours, mut dd, mut copies) = (Vec::new(), Vec::new(), Vec::new());
    let (mut memory, mut disk) = (Vec::new(), Vec::new());
    for turn in 0..turns {
        let (read, write) = (read_all(&stick)?, write_all(&stick, maker.folder())?);
        say(&format!("dd: read {read:.1} s, write {write:.1} s"));
        dd.push(read.max(write));
        copies.push(copy_all(&stick, maker.folder())?);
        let done = import(&maker, &stick, &format!("data-{turn}"))?;
        ours.push(done.seconds);
        memory.push(mebibytes(done.peak_memory));
        disk.push(mebibytes(done.extra_disk));
    }
    let row = |name: &str, unit, ours: &[f64], other: Option<(&str, &[f64])>, figure| Row {
        name: name.to_owned(),
        unit,
        ours: Samples::new(ours.to_vec()),
        other: other.map(|(name, values)| (name.to_owned(), Samples::new(values.to_vec()))),
        figure,
    };
    let slower = Some(("dd, the slower of read and write", dd.as_slice()));
    let copy = Some(("dd, the same disk to itself", copies.as_slice()));
    let most = |limit| Figure::Most(limit, limit);
    let mut rows = vec![
        row(
            "import of 4 GiB",
            "s",
            &ours,
            slower,
            Figure::Ratio(1.0 / 0.9),
        ),
        row("import of 4 GiB", "s", &ours, copy, Figure::None),
        row("  its peak memory", "MiB", &memory, None, most(96.0)),
        row("  its extra disk", "MiB", &disk, None, most(64.0)),
    ];
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

/// The recipe of the demonstration, carried a second time to an appliance that has it all.
pub(super) fn delta(stage: &mut Stage, _: usize) -> Result<Vec<Row>> {
    let folder = stage.folder.join("delta");
    let connected = Connected::set_up(&folder, &stage.binary, &shared_cache(&stage.root))?;
    let maker = Maker { connected };
    let recipe = stage.root.join("bundles/demo.toml");
    let full = maker.make(&recipe, "full", &[])?;
    let mut appliance = maker.appliance("data")?;
    appliance
        .ok(&["bundle", "import", at(&full)?])
        .map_err(plain)?;
    let slip = maker.folder().join("have.slip");
    appliance
        .ok(&["bundle", "have", "-o", at(&slip)?])
        .map_err(plain)?;
    let words = ["--seq", "2", "--have", at(&slip)?];
    let small = maker.make(&recipe, "delta", &words)?;
    appliance
        .ok(&["bundle", "import", at(&small)?])
        .map_err(plain)?;
    appliance.stop().map_err(plain)?;
    let sum = |dir: &Path| -> Result<u64> {
        let mut bytes = 0;
        for entry in fs::read_dir(dir)? {
            bytes += entry?.metadata()?.len();
        }
        Ok(bytes)
    };
    let program = maker.connected.binary.metadata()?.len();
    say(&format!(
        "the whole: {:.1} MiB, the program of {:.1} MiB among it",
        mebibytes(sum(&full)?),
        mebibytes(program)
    ));
    let carried = sum(&small)?;
    Ok(vec![Row {
        name: "demo.toml again, as a delta".to_owned(),
        unit: "kB",
        ours: Samples::new(vec![mebibytes(carried) * MEBIBYTE_KB]),
        other: None,
        figure: Figure::Most(200.0, 200.0),
    }])
}
