//! How fast the log is: appending under load, verifying, exporting, proving. Prints rows as JSON.
//!
//! `cargo run --release -p audit --example figures -- FOLDER ENTRIES SECONDS`; the folder is on the
//! disk to be measured and is left empty. The export runs in a process of its own, so that its
//! memory is its own.

use std::error::Error;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use audit::{
    Actor, AppendError, Auditor, Entry, Export, Kind, MIGRATIONS, Origin, Seal, Via, Wanted, Who,
};
use evidence::tree::{Frontier, Hash, includes, leaf_hash};
use evidence::verify::{Anchors, verify};
use serde_json::{Value, json};
use store::{Store, StoreError, StoreOptions};
use vocab::{Clock, Entropy, RepoId, Stopwatch, UserId};

type Result<T = ()> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// Writers at a time, each of which waits for its own entry.
const WRITERS: usize = 256;
/// Entries of one transaction while the log is filled.
const BATCH: usize = 4_096;

#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Append(#[from] AppendError),
}

struct Site {
    store: Store,
    log: Auditor,
    seal: Seal,
}

impl Site {
    fn open(dir: &Path, options: StoreOptions) -> Result<Self> {
        let origin = Origin {
            host: "lab-0001".into(),
            boot: "6b9f8c0e-6a40-4bb5-9b5d-0d8b1e1d7c55".into(),
        };
        Ok(Self {
            store: Store::open(dir, &[MIGRATIONS], options)?,
            log: Auditor::new(Clock::system(), Entropy::system(), origin),
            seal: Seal::open(dir, "lab-0001", &Entropy::system())?,
        })
    }

    fn append(&self, entries: usize) -> std::result::Result<(), Failed> {
        self.store.write(|tx| {
            for _ in 0..entries {
                self.log.append(tx, &who(), push())?;
            }
            Ok(())
        })
    }
}

fn who() -> Who {
    let name = "dev".parse().expect("this is a name");
    let actor = Actor::User {
        id: UserId(17),
        name,
    };
    Who::new(actor, Via::Http).in_request("5f0c1d2e3a4b5c6d")
}

fn push() -> Entry {
    Entry::success(Kind::GitPush)
        .object("repo", RepoId(5).tagged(), "lab/tasks-app")
        .detail("push", "p:4711")
        .detail("refs_total", 1)
}

fn main() -> Result {
    let args: Vec<String> = std::env::args().collect();
    let folder = Path::new(args.get(1).ok_or("figures FOLDER ENTRIES SECONDS")?);
    if args.get(2).is_some_and(|word| word == "export") {
        println!("{}", export(folder)?);
        return Ok(());
    }
    let entries: usize = args.get(2).map_or(Ok(1_000_000), |text| text.parse())?;
    let seconds: u64 = args.get(3).map_or(Ok(5), |text| text.parse())?;
    let mut rows = Vec::new();
    let dir = tempfile::tempdir_in(folder)?;
    rows.extend(under_load(dir.path(), Duration::from_secs(seconds))?);
    drop(dir);
    let dir = tempfile::tempdir_in(folder)?;
    rows.extend(large(dir.path(), entries)?);
    println!("{}", json!(rows));
    Ok(())
}

/// Appends by many writers, each in a transaction of its own, beside plain inserts.
fn under_load(dir: &Path, span: Duration) -> Result<Vec<Value>> {
    let site = Site::open(dir, StoreOptions::default())?;
    let (rate, waits) = load(WRITERS, span, &|| Ok(site.append(1)?))?;
    let (alone, alone_waits) = load(1, span, &|| Ok(site.append(1)?))?;
    let plain = Plain::open(&dir.join("plain.db"))?;
    let (single, single_waits) = load(1, span, &|| plain.insert(1))?;
    let (batched, _) = load(1, span, &|| plain.insert(WRITERS))?;
    let batched = batched
        .iter()
        .map(|rate| rate * WRITERS as f64)
        .collect::<Vec<_>>();
    Ok(vec![
        json!({"name": format!("audit entries by {WRITERS} writers"), "unit": "1/s", "ours": rate,
            "least": 50_000.0,
            "beside": {"name": format!("{WRITERS} plain inserts a commit"), "values": batched}}),
        json!({"name": "one such entry, durable", "unit": "ms", "ours": waits, "most": [25.0, 25.0],
            "beside": {"name": "one plain insert, alone", "values": single_waits}}),
        json!({"name": "audit entries by one writer", "unit": "1/s", "ours": alone,
            "beside": {"name": "plain inserts by one writer", "values": single}}),
        json!({"name": "one such entry, alone", "unit": "ms", "ours": alone_waits}),
    ])
}

/// A table of lines with the same settings and nothing else.
struct Plain(Mutex<rusqlite::Connection>);

impl Plain {
    fn open(path: &Path) -> Result<Self> {
        let db = rusqlite::Connection::open(path)?;
        db.execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
             CREATE TABLE line (seq INTEGER PRIMARY KEY, line TEXT NOT NULL) STRICT",
        )?;
        Ok(Self(Mutex::new(db)))
    }

    fn insert(&self, rows: usize) -> Result {
        let mut db = self.0.lock().map_err(|_| "a writer panicked")?;
        let tx = db.transaction()?;
        for _ in 0..rows {
            tx.prepare_cached("INSERT INTO line (line) VALUES (?1)")?
                .execute([LINE])?;
        }
        Ok(tx.commit()?)
    }
}

/// As long as an entry of [`push`].
const LINE: &str = r#"{"act":"git.push","boot":"6b9f8c0e-6a40-4bb5-9b5d-0d8b1e1d7c55","cat":"git","clk":"sys","d":{"push":"p:4711","refs_total":1},"gen":0,"host":"lab-0001","link":{"req":"5f0c1d2e3a4b5c6d"},"mono":17,"obj":{"id":"r:5","name":"lab/tasks-app","type":"repo"},"out":"success","seq":1,"sev":1,"src":{"via":"http"},"t":"2026-11-26T16:00:00.000000Z","v":1,"who":{"id":"u:17","name_c":"0000000000000000000000000000000000000000000000000000000000000000","type":"user"}}"#;

/// Calls `act` from so many threads at once. Gives calls per second, one value for each second, and
/// how long each call took, in ms.
fn load(
    writers: usize,
    span: Duration,
    act: &(dyn Fn() -> Result + Sync),
) -> Result<(Vec<f64>, Vec<f64>)> {
    let over = AtomicBool::new(false);
    let all = Mutex::new(Vec::new());
    let watch = Stopwatch::start();
    std::thread::scope(|scope| {
        let mut running = Vec::new();
        for _ in 0..writers {
            running.push(scope.spawn(|| -> Result {
                let mut own = Vec::new();
                while !over.load(Ordering::Relaxed) {
                    let one = Stopwatch::start();
                    act()?;
                    own.push((watch.elapsed().as_secs_f64(), milliseconds(&one)));
                }
                all.lock().map_err(|_| "a writer panicked")?.extend(own);
                Ok(())
            }));
        }
        Clock::sleep(span);
        over.store(true, Ordering::Relaxed);
        for thread in running {
            thread.join().map_err(|_| "a writer panicked")??;
        }
        Ok::<_, Box<dyn Error + Send + Sync>>(())
    })?;
    let all = all.into_inner()?;
    let whole = span.as_secs().max(1);
    let rates = (0..whole).map(|second| {
        let (from, to) = (second as f64, second as f64 + 1.0);
        let inside = all.iter().filter(|(at, _)| (from..to).contains(at));
        inside.count() as f64
    });
    Ok((rates.collect(), all.iter().map(|(_, took)| *took).collect()))
}

fn milliseconds(watch: &Stopwatch) -> f64 {
    watch.elapsed().as_secs_f64() * 1000.0
}

/// A log of many entries: filled, sealed, proved, exported, verified.
fn large(dir: &Path, entries: usize) -> Result<Vec<Value>> {
    let site = Site::open(dir, StoreOptions { skip_fsync: true })?;
    let watch = Stopwatch::start();
    for at in (0..entries).step_by(BATCH) {
        site.append(BATCH.min(entries - at))?;
    }
    let filled = entries as f64 / watch.elapsed().as_secs_f64();
    let watch = Stopwatch::start();
    let size = site.seal.seal(&site.store)?.checkpoint.size;
    let sealed = size as f64 / watch.elapsed().as_secs_f64();
    let mut proofs = Vec::new();
    for at in 0..1_000_u64 {
        let index = at * 7_919 % size;
        let watch = Stopwatch::start();
        let proof = site.seal.prove(index)?;
        proofs.push(milliseconds(&watch));
        let seq = audit::Seq(i64::try_from(index)?);
        let line = site
            .store
            .read::<_, StoreError>(|db| Ok(audit::line(db, seq)?))?;
        let leaf = line.ok_or("an entry is missing")?.leaf;
        let root = &proof.signed.checkpoint.root;
        assert!(includes(&leaf, index, size, &proof.hashes, root));
    }
    drop(site);
    let own = std::env::current_exe()?;
    let told = std::process::Command::new(own)
        .args([dir.as_os_str(), "export".as_ref()])
        .output()?;
    let told: Value = serde_json::from_slice(&told.stdout)?;
    let bytes = std::fs::metadata(dir.join("all.cfa"))?.len();
    let mut rows = vec![
        json!({"name": "entries written in batches, not synced", "unit": "1/s", "ours": [filled]}),
        json!({"name": "entries sealed into tiles", "unit": "1/s", "ours": [sealed]}),
        json!({"name": format!("one inclusion proof of {size}"), "unit": "ms", "ours": proofs,
            "most": [1.0, 1.0]}),
        json!({"name": format!("export of {size}, {} MiB", bytes >> 20), "unit": "s",
            "ours": [told["seconds"]], "most": [6.0 * size as f64 / 1e6, 6.0 * size as f64 / 1e6]}),
        json!({"name": "its peak memory", "unit": "MiB", "ours": [told["peak_mib"]],
            "most": [96.0, 96.0]}),
    ];
    rows.extend(verified(&dir.join("all.cfa"), size)?);
    Ok(rows)
}

fn export(dir: &Path) -> Result<Value> {
    let site = Site::open(dir, StoreOptions { skip_fsync: true })?;
    let watch = Stopwatch::start();
    let out = std::fs::File::create(dir.join("all.cfa"))?;
    let out = std::io::BufWriter::with_capacity(1 << 20, out);
    let export = Export::begin(&site.store, &site.seal, Wanted::default())?;
    let (_, out) = export.write(out, Clock::system().now(), [], &mut |_| {})?;
    out.into_inner()?.sync_all()?;
    let seconds = watch.elapsed().as_secs_f64();
    let status = std::fs::read_to_string("/proc/self/status")?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak: f64 = peak
        .and_then(|rest| rest.trim().strip_suffix(" kB"))
        .ok_or("no peak of memory")?
        .trim()
        .parse()?;
    Ok(json!({"seconds": seconds, "peak_mib": peak / 1024.0}))
}

/// The whole of `verify`, and of it the tree alone: leaf hashes to the root, lines to leaf hashes.
fn verified(path: &Path, size: u64) -> Result<Vec<Value>> {
    let watch = Stopwatch::start();
    let verdict = verify(path, &Anchors::default())?;
    assert!(verdict.good, "{:?}", verdict.findings);
    let whole = size as f64 / watch.elapsed().as_secs_f64();
    let leaves: Vec<Hash> = (0..1_000_000_u32)
        .map(|n| leaf_hash(&n.to_be_bytes()))
        .collect();
    let mut of_tree = Vec::new();
    let mut of_lines = Vec::new();
    for _ in 0..5 {
        let watch = Stopwatch::start();
        let mut frontier = Frontier::default();
        leaves.iter().for_each(|leaf| frontier.push(*leaf));
        std::hint::black_box(frontier.root());
        of_tree.push(leaves.len() as f64 / watch.elapsed().as_secs_f64());
        let watch = Stopwatch::start();
        for _ in 0..200_000 {
            std::hint::black_box(leaf_hash(std::hint::black_box(LINE.as_bytes())));
        }
        of_lines.push(200_000.0 / watch.elapsed().as_secs_f64());
    }
    Ok(vec![
        json!({"name": "entries verified, leaf hashes to root", "unit": "1/s", "ours": of_tree,
            "least": 2_000_000.0}),
        json!({"name": "lines hashed", "unit": "1/s", "ours": of_lines}),
        json!({"name": format!("an export of {size} verified whole"), "unit": "1/s",
            "ours": [whole], "least": 2_000_000.0}),
    ])
}
