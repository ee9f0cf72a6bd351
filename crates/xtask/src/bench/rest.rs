//! What the appliance costs while nothing happens: size, start, memory.

use std::collections::BTreeSet;

use anyhow::{Context, Result};

use super::samples::{Figure, Row, Samples, mebibytes};
use super::stage::{Stage, milliseconds, plain};

pub(super) fn idle(stage: &mut Stage, _: usize) -> Result<Vec<Row>> {
    let mut starts = Vec::new();
    for _ in 0..10 {
        stage.appliance.stop().map_err(plain)?;
        starts.push(milliseconds(|| stage.appliance.start().map_err(plain))?);
    }
    let server = stage.appliance.server().map_err(plain)?.id();
    let memory: u64 = family(server)?.into_iter().map(proportional_bytes).sum();
    let size = std::fs::metadata(&stage.binary)?.len();
    let row = |name: &str, unit, values, figure| Row {
        name: name.to_owned(),
        unit: String::from(unit),
        ours: Samples::new(values),
        other: None,
        figure,
    };
    Ok(vec![
        row("start to ready", "ms", starts, Figure::Most(1000.0, 1000.0)),
        row(
            "idle memory, pool warm",
            "MiB",
            vec![mebibytes(memory)],
            Figure::Most(60.0, 60.0),
        ),
        row(
            "binary",
            "MiB",
            vec![mebibytes(size)],
            Figure::Most(60.0, 60.0),
        ),
    ])
}

/// A process and all that descend from it.
fn family(first: u32) -> Result<BTreeSet<u32>> {
    let mut parents = Vec::new();
    for entry in std::fs::read_dir("/proc").context("cannot list /proc")? {
        let entry = entry?;
        let Some(id) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<u32>().ok())
        else {
            continue;
        };
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let after = stat.rsplit(") ").next().unwrap_or_default();
        if let Some(parent) = after
            .split(' ')
            .nth(1)
            .and_then(|word| word.parse::<u32>().ok())
        {
            parents.push((id, parent));
        }
    }
    let mut found = BTreeSet::from([first]);
    loop {
        let before = found.len();
        for (id, parent) in &parents {
            if found.contains(parent) {
                found.insert(*id);
            }
        }
        if found.len() == before {
            return Ok(found);
        }
    }
}

/// Its share of memory: what it shares with others counts in part.
fn proportional_bytes(id: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{id}/smaps_rollup")).unwrap_or_default();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("Pss:"))
        .unwrap_or_default();
    let kibibytes: u64 = line
        .trim()
        .trim_end_matches(" kB")
        .trim()
        .parse()
        .unwrap_or(0);
    kibibytes * 1024
}
