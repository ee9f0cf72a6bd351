//! The audit log: what `audit`'s example reads, in a process of its own and on this disk.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::samples::{Figure, Row, Samples};
use super::stage::Stage;

/// Entries of the log that is proved, exported and verified; ten million by the example itself.
const ENTRIES: &str = "1000000";
/// How long entries are written, in seconds.
const SECONDS: &str = "4";

pub(super) fn all(stage: &mut Stage, _: usize) -> Result<Vec<Row>> {
    let folder = stage.folder.join("log");
    std::fs::create_dir_all(&folder)?;
    let output = Command::new("cargo")
        .current_dir(&stage.root)
        .args(["run", "--quiet", "--release", "--package", "audit"])
        .args(["--example", "figures", "--"])
        .arg(&folder)
        .args([ENTRIES, SECONDS])
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run cargo")?;
    if !output.status.success() {
        bail!("the example ended with {}", output.status);
    }
    let rows: Value = serde_json::from_slice(&output.stdout).context("its rows are not JSON")?;
    let rows = rows.as_array().context("its rows are no list")?;
    rows.iter()
        .map(|told| row(told).with_context(|| format!("a row cannot be read: {told}")))
        .collect()
}

fn row(told: &Value) -> Option<Row> {
    let numbers = |value: &Value| -> Option<Samples> {
        let values: Option<Vec<f64>> = value.as_array()?.iter().map(Value::as_f64).collect();
        Some(Samples::new(values?))
    };
    let figure = match (&told["most"], &told["least"]) {
        (Value::Array(most), _) => Figure::Most(most.first()?.as_f64()?, most.get(1)?.as_f64()?),
        (_, Value::Number(least)) => Figure::Least(least.as_f64()?),
        _ => Figure::None,
    };
    let other = match &told["beside"] {
        Value::Null => None,
        beside => Some((
            beside["name"].as_str()?.to_owned(),
            numbers(&beside["values"])?,
        )),
    };
    Some(Row {
        name: told["name"].as_str()?.to_owned(),
        unit: told["unit"].as_str()?.to_owned(),
        ours: numbers(&told["ours"])?,
        other,
        figure,
    })
}
