//! From a push to a job's first output, and how fast a sandbox stands.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::samples::{Figure, Row, Samples};
use super::stage::{Stage, milliseconds, plain};
use crate::shell::{find_program, read, run, say};

const ECHO: &str =
    "on: push\njobs:\n  a:\n    runs-on: ubuntu-latest\n    steps:\n      - run: echo hi\n";

/// The times of one job, in milliseconds of the server's clock.
struct Times {
    queued: f64,
    claimed: f64,
    prepared: f64,
    first_output: f64,
}

impl Times {
    fn read(receipt: &Value) -> Result<Self> {
        let time = |key: &str| {
            receipt["timings"][key]
                .as_f64()
                .with_context(|| format!("the receipt has no {key}"))
        };
        Ok(Self {
            queued: time("queued_ms")?,
            claimed: time("claimed_ms")?,
            prepared: time("prepared_ms")?,
            first_output: time("first_output_ms")?,
        })
    }
}

/// Pushes a commit `samples` times, each time waiting for its one job.
fn jobs(stage: &Stage, name: &str, samples: usize) -> Result<Vec<Times>> {
    let tree = stage.tree(name, Some(ECHO))?;
    let url = stage.our_repo(name)?;
    tree.push(&url, "HEAD:main").map_err(plain)?;
    stage.watch(name)?;
    let mut found = Vec::new();
    for turn in 0..samples {
        tree.write("file", format!("{turn}\n")).map_err(plain)?;
        tree.commit("change").map_err(plain)?;
        tree.push(&url, "HEAD:main").map_err(plain)?;
        stage.watch(name)?;
        found.push(Times::read(&stage.receipt(name)?)?);
    }
    Ok(found)
}

fn row(name: &str, times: &[Times], span: fn(&Times) -> f64, figure: Figure) -> Row {
    let ours = Samples::new(times.iter().map(span).collect());
    Row {
        name: name.to_owned(),
        unit: "ms".to_owned(),
        ours,
        other: None,
        figure,
    }
}

pub(super) fn first_output(stage: &mut Stage, samples: usize) -> Result<Vec<Row>> {
    let times = jobs(stage, "echo", samples)?;
    Ok(vec![
        row(
            "push recorded to first output",
            &times,
            |t| t.first_output - t.queued,
            Figure::Most(50.0, 250.0),
        ),
        row(
            "  of it: until claimed",
            &times,
            |t| t.claimed - t.queued,
            Figure::None,
        ),
        row(
            "  of it: until the sandbox stands",
            &times,
            |t| t.prepared - t.claimed,
            Figure::None,
        ),
    ])
}

pub(super) fn long_queue(stage: &mut Stage, samples: usize) -> Result<Vec<Row>> {
    let sixteen = "[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]";
    let legs = format!(
        "on: push\njobs:\n  a:\n    runs-on: no-such-label\n    strategy:\n      matrix:\n        \
         x: {sixteen}\n        y: {sixteen}\n    steps:\n      - run: echo hi\n"
    );
    let tree = stage.tree("queue", Some(&legs))?;
    let url = stage.our_repo("queue")?;
    for turn in 0..40 {
        tree.write("file", format!("{turn}\n")).map_err(plain)?;
        tree.commit("change").map_err(plain)?;
        tree.push(&url, "HEAD:main").map_err(plain)?;
    }
    let times = jobs(stage, "beside", samples)?;
    Ok(vec![
        row(
            "claim with 10,240 queued",
            &times,
            |t| t.claimed - t.queued,
            Figure::Most(20.0, 20.0),
        ),
        row(
            "first output with 10,240 queued",
            &times,
            |t| t.first_output - t.queued,
            Figure::None,
        ),
    ])
}

pub(super) fn sandbox_start(stage: &mut Stage, samples: usize) -> Result<Vec<Row>> {
    let times = jobs(stage, "sandbox", samples)?;
    let span = |t: &Times| t.first_output - t.claimed;
    let mut rows = Vec::new();
    for (name, starts) in [
        ("crun run", crun(stage, samples)),
        ("docker run", docker(samples)),
    ] {
        match starts {
            Ok(starts) => {
                let mut row = row("claimed to first output", &times, span, Figure::None);
                row.other = Some((name.to_owned(), starts));
                rows.push(row);
            }
            Err(error) => say(&format!("nothing to compare with: {name}: {error:#}")),
        }
    }
    if rows.is_empty() {
        rows.push(row("claimed to first output", &times, span, Figure::None));
    }
    Ok(rows)
}

/// `crun run` of the same image, to the end of `echo hi`.
fn crun(stage: &Stage, samples: usize) -> Result<Samples> {
    if find_program("crun").is_none() {
        bail!("not installed");
    }
    let bundle = stage.folder.join("crun");
    make_bundle(&stage.image, &bundle)?;
    // It refuses a host with both kinds of cgroups, so the second kind is taken from its view.
    let script = format!(
        "umount /sys/fs/cgroup/unified 2>/dev/null\n\
         for turn in $(seq {samples}); do\n\
         before=${{EPOCHREALTIME/./}}\n\
         test \"$(crun run --bundle '{}' cofferdam-bench-$$-$turn)\" = hi || exit 1\n\
         echo $((${{EPOCHREALTIME/./}} - before))\n\
         done",
        bundle.display()
    );
    let said = read(Command::new("unshare").args(["--mount", "bash", "-c", &script]))?;
    let values: Result<Vec<f64>, _> = said.lines().map(str::parse::<f64>).collect();
    Ok(Samples::new(
        values?
            .into_iter()
            .map(|microseconds| microseconds / 1000.0)
            .collect(),
    ))
}

fn docker(samples: usize) -> Result<Samples> {
    let up = Command::new("docker")
        .args(["image", "inspect", "debian:bookworm-slim"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if !up.is_ok_and(|status| status.success()) {
        bail!("no daemon, or it has no image debian:bookworm-slim");
    }
    let mut values = Vec::new();
    for _ in 0..samples {
        values.push(milliseconds(|| {
            hi(Command::new("docker")
                .args(["run", "--rm", "--network", "none"])
                .args(["debian:bookworm-slim", "sh", "-c", "echo hi"]))
        })?);
    }
    Ok(Samples::new(values))
}

fn hi(command: &mut Command) -> Result<()> {
    let output = command.output()?;
    if output.stdout != b"hi\n" {
        bail!(
            "it failed: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}

/// Unpacks the only layer of our image as the root of an OCI bundle.
fn make_bundle(image: &Path, bundle: &Path) -> Result<()> {
    let layout: PathBuf = bundle.join("layout");
    let root = bundle.join("rootfs");
    std::fs::create_dir_all(&layout)?;
    std::fs::create_dir_all(&root)?;
    run(Command::new("tar")
        .arg("-xf")
        .arg(image)
        .arg("-C")
        .arg(&layout))?;
    let layer = std::fs::read_dir(layout.join("blobs/sha256"))?
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            Some((path.metadata().ok()?.len(), path))
        })
        .max()
        .context("the image has no blobs")?
        .1;
    run(Command::new("tar")
        .arg("-xzf")
        .arg(layer)
        .arg("-C")
        .arg(&root))?;
    let kinds = ["pid", "network", "ipc", "uts", "mount"];
    let namespaces: Vec<Value> = kinds.iter().map(|kind| json!({ "type": kind })).collect();
    let config = json!({
        "ociVersion": "1.0.2",
        "process": {
            "cwd": "/", "args": ["sh", "-c", "echo hi"],
            "env": ["PATH=/usr/bin:/bin"], "user": { "uid": 0, "gid": 0 },
        },
        "root": { "path": "rootfs", "readonly": true },
        "mounts": [{ "destination": "/proc", "type": "proc", "source": "proc" }],
        "linux": { "namespaces": namespaces },
    });
    std::fs::write(bundle.join("config.json"), config.to_string())?;
    Ok(())
}
