//! How fast a bundle comes in, beside `dd` reading it and writing as much on the same disk, and how
//! much memory that takes: `cargo run --release -p supply --example import_rate -- FOLDER MIB`.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use audit::{Auditor, Who};
use bundle::manifest::{FileItem, Origin};
use bundle::pack::{Content, Draft, measure, pack};
use bundle::root::{NamedKey, Role, Statement};
use bundle::sign::{SecretKey, generate};
use bundle::{Item, Version, trusted_comment};
use rustix::fs::{Advice, fadvise};
use store::{Store, StoreOptions};
use supply::bundles::{About, Intake, write_fingerprint};
use vocab::{Clock, Digest, Entropy, Stopwatch};

type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;

const MIB: u64 = 1 << 20;

/// Bytes that no compression helps, made as they are read.
struct Noise {
    state: u64,
    left: u64,
}

impl Noise {
    fn new(seed: u64, size: u64) -> Self {
        let state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        Self { state, left: size }
    }
}

impl Read for Noise {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX);
        let most = most.min(buffer.len()).min(1 << 16);
        let part = &mut buffer[..most];
        for piece in part.chunks_mut(8) {
            self.state ^= self.state << 13;
            self.state ^= self.state >> 7;
            self.state ^= self.state << 17;
            piece.copy_from_slice(&self.state.to_le_bytes()[..piece.len()]);
        }
        self.left -= most as u64;
        Ok(most)
    }
}

fn main() -> Result {
    let mut words = std::env::args().skip(1);
    let folder = words.next().ok_or("name a folder on the disk to measure")?;
    let mib: u64 = words.next().as_deref().unwrap_or("4096").parse()?;
    let folder = tempfile::tempdir_in(folder)?;
    let (stick, data) = (folder.path().join("stick"), folder.path().join("data"));
    fs::create_dir_all(&stick)?;
    fs::create_dir_all(&data)?;
    let (fingerprint, volumes) = bundle(&stick, mib)?;
    let cold = || {
        volumes
            .iter()
            .try_for_each(|name| forget(&stick.join(name)))
    };
    cold()?;
    let mut read = 0.0;
    for name in &volumes {
        let from = stick.join(name);
        read += dd(&format!("if={} of=/dev/null bs=1M", from.display()))?;
    }
    cold()?;
    let raw = folder.path().join("raw");
    let write = dd(&format!(
        "if=/dev/zero of={} bs=1M count={mib} conv=fsync",
        raw.display()
    ))?;
    fs::remove_file(&raw)?;

    write_fingerprint(&data, &fingerprint)?;
    let intake = open(&data)?;
    let before = used(&data)?;
    let watch = Stopwatch::start();
    let done = intake.begin(&stick, &Who::system(), false)?.run()?;
    let took = watch.elapsed().as_secs_f64();
    let extra = used(&data)?
        .saturating_sub(before)
        .saturating_sub(done.bytes.total);
    let slower = read.max(write);
    println!(
        "{mib} MiB in {} blobs: import {took:.2} s, dd read {read:.2} s, dd write {write:.2} s: \
         {:.2} of the slower; peak memory {} KiB; extra disk {} KiB",
        done.blobs.total,
        slower / took,
        peak_kib()?,
        extra / 1024
    );
    Ok(())
}

fn open(data: &Path) -> Result<Arc<Intake>> {
    let all = [audit::MIGRATIONS, supply::MIGRATIONS];
    let store = Arc::new(Store::open(data, &all, StoreOptions::default())?);
    let origin = audit::Origin {
        host: "bench".to_owned(),
        boot: "bench".to_owned(),
    };
    let auditor = Auditor::new(Clock::system(), Entropy::system(), origin);
    let about = About {
        name: "bench".to_owned(),
        version: Version(0, 1, 0),
        arch: "amd64".to_owned(),
        built: "2026-11-01".to_owned(),
        two_persons: false,
    };
    let (after, pins) = (Box::new(|_: &_, _, _: &_| {}), Box::new(Vec::new));
    Ok(Arc::new(Intake::new(store, auditor, about, after, pins)?))
}

/// The most memory that this process had.
fn peak_kib() -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .ok_or("the kernel does not tell")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

/// Bytes that a folder takes on its disk.
fn used(folder: &Path) -> Result<u64> {
    let said = Command::new("du")
        .args(["-s", "-B1"])
        .arg(folder)
        .output()?;
    let text = String::from_utf8(said.stdout)?;
    Ok(text.split_whitespace().next().unwrap_or("0").parse()?)
}

/// Takes a file out of the page cache.
fn forget(path: &Path) -> Result {
    let file = File::open(path)?;
    file.sync_all()?;
    Ok(fadvise(&file, 0, None, Advice::DontNeed)?)
}

fn dd(words: &str) -> Result<f64> {
    let watch = Stopwatch::start();
    let ran = Command::new("dd").args(words.split(' ')).output()?;
    if !ran.status.success() {
        return Err(String::from_utf8_lossy(&ran.stderr).into_owned().into());
    }
    Ok(watch.elapsed().as_secs_f64())
}

/// Sizes that come to about `mib` MiB: a few blobs of more than a segment, more of some chunks,
/// many small ones.
fn sizes(mib: u64) -> Vec<u64> {
    let (mut found, mut left) = (Vec::new(), mib * MIB);
    for (size, share) in [
        (1300 * MIB, 3),
        (200 * MIB, 2),
        (8 * MIB, 2),
        (256 << 10, 1),
    ] {
        let mut part = (mib * MIB * share / 8).min(left);
        while part >= size {
            found.push(size);
            (part, left) = (part - size, left - size);
        }
    }
    found
}

fn draft(items: Vec<Item>) -> Draft {
    Draft {
        product: "lab".to_owned(),
        channel: "stable".to_owned(),
        seq: 1,
        content: "1".to_owned(),
        arch: vec!["amd64".to_owned()],
        created: "2026-11-20".to_owned(),
        not_after: "2099-05-20".to_owned(),
        security_epoch: 0,
        min_appliance: "0.1.0".to_owned(),
        rollback_of: None,
        audience: Vec::new(),
        root: 1,
        have_sha256: None,
        assumed: BTreeMap::new(),
        items,
        removes: Vec::new(),
        replaces: BTreeMap::new(),
        lock_sha256: Digest::of(b"lock"),
        notes: None,
    }
}

/// A signed bundle of about `mib` MiB. Gives the fingerprint and the names of its volumes.
fn bundle(dir: &Path, mib: u64) -> Result<(Digest, Vec<String>)> {
    let mut blobs = BTreeMap::new();
    let mut seeds: BTreeMap<Digest, (u64, u64)> = BTreeMap::new();
    let mut items = Vec::new();
    for (seed, size) in (1u64..).zip(sizes(mib)) {
        let (digest, size, chunks) = measure(Noise::new(seed, size))?;
        seeds.insert(digest, (seed, size));
        let media = "application/octet-stream".to_owned();
        let content = Content {
            size,
            media,
            chunks,
        };
        blobs.insert(digest, content);
        items.push(Item::File(FileItem {
            name: format!("f{seed}"),
            d: digest,
            source: Origin::default(),
        }));
    }
    let manifest = pack(
        draft(items),
        &blobs,
        4_000_000_000,
        &mut |digest| {
            let (seed, size) = seeds[digest];
            Ok(Box::new(Noise::new(seed, size)))
        },
        &mut |name| Ok(Box::new(io::BufWriter::new(File::create(dir.join(name))?))),
    )?;
    let (public, text) = generate(None)?;
    let secret = SecretKey::open(&text, None)?;
    let role = Role {
        threshold: 1,
        keys: vec![NamedKey {
            id: public.id().clone(),
            name: "only".to_owned(),
            key: public.as_base64().to_owned(),
        }],
    };
    let statement = Statement {
        cofferdam_root: 1,
        site: "lab".to_owned(),
        number: 1,
        created: "2026-11-20".to_owned(),
        root: role.clone(),
        release: role,
        revoked: Vec::new(),
        floor_reset: BTreeMap::new(),
    };
    let (root, bytes) = (statement.to_bytes(), manifest.to_bytes());
    let comment = trusted_comment(&manifest, &Digest::of(&bytes));
    fs::write(dir.join("MANIFEST.json"), &bytes)?;
    fs::write(
        dir.join("MANIFEST.json.K.minisig"),
        secret.sign(&bytes, &comment)?,
    )?;
    fs::write(dir.join("ROOT.1.json"), &root)?;
    fs::write(
        dir.join("ROOT.1.json.K.minisig"),
        secret.sign(&root, "root")?,
    )?;
    let names = manifest.volumes.iter().map(|v| v.name.clone()).collect();
    Ok((Digest::of(&root), names))
}
