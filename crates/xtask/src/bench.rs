//! The measurements: each row beside what it is compared with, as a table and as JSON.

mod bundles;
mod carried;
mod cgi;
mod imports;
mod jobs;
mod log;
mod medium;
mod pushes;
mod rest;
mod samples;
mod stage;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::json;

use self::samples::Row;
use self::stage::Stage;
use crate::shell::{part, say};
use crate::{dist, image, shell, tools};

type Measure = fn(&mut Stage, usize) -> Result<Vec<Row>>;

/// Every measurement, by a word of its name.
const MEASURES: &[(&str, Measure)] = &[
    ("start-up and idle memory", rest::idle),
    ("push to a small repo", pushes::small),
    ("push to 3,000 refs", pushes::many_refs),
    ("push to first output", jobs::first_output),
    ("sandbox start", jobs::sandbox_start),
    ("clone", pushes::clone),
    ("audit log", log::all),
    ("10,000 queued", jobs::long_queue),
    ("verdict", bundles::verdict),
    ("import", imports::large),
    ("first job after an import", carried::first_job),
    ("delta", bundles::delta),
];

/// Measures with the release binary; rows whose name does not contain `only` are left out.
pub(crate) fn run(
    root: &Path,
    samples: usize,
    only: Option<&str>,
    binary: Option<PathBuf>,
) -> Result<()> {
    if !shell::is_root() {
        bail!("sandboxes are measured too; run it as root");
    }
    tools::ensure(tools::DEMO)?;
    tools::ensure(tools::BENCH)?;
    let binary = match binary {
        Some(path) => path
            .canonicalize()
            .with_context(|| format!("cannot find {}", path.display()))?,
        None => dist::build(root, "release")?,
    };
    let image = image::ensure(root, Some(&binary))?;
    let mut stage = Stage::set_up(root, &binary, &image)?;
    let mut rows = Vec::new();
    for (name, measure) in MEASURES {
        if only.is_some_and(|word| !name.contains(word)) {
            continue;
        }
        match part(&format!("measure: {name}"), || measure(&mut stage, samples)) {
            Ok(measured) => rows.extend(measured),
            // One row that cannot be measured must not take the others with it.
            Err(error) => say(&format!("not measured: {name}: {error:#}")),
        }
    }
    stage.close()?;
    println!();
    println!("{}", samples::heading());
    for row in &rows {
        println!("{}", row.line());
    }
    let out = root.join("target/bench/results.json");
    let all: Vec<_> = rows.iter().map(Row::json).collect();
    let text = serde_json::to_string_pretty(&json!({ "samples": samples, "rows": all }))?;
    std::fs::write(&out, text).with_context(|| format!("cannot write {}", out.display()))?;
    say(&format!("written to {}", out.display()));
    Ok(())
}
