//! Looking for tampering: lines that changed, are missing, or were cut off the end.

use evidence::tree::leaf_hash;
use serde_json::Value;
use store::Db;

use crate::append::commitment;
use crate::sql;

/// How many findings are worth listing.
const FINDINGS: usize = 100;

/// What is wrong with the log, in words, at most 100 findings; empty when all is well.
pub fn check(db: &Db) -> rusqlite::Result<Vec<String>> {
    let mut found = Vec::new();
    let mut next = 0;
    let mut last_t_us = 0;
    let mut last_leaf = Vec::new();
    sql::each(db, |row| {
        if row.seq != next {
            found.push(format!(
                "audit entries {next} to {} are missing",
                row.seq - 1
            ));
        }
        next = row.seq + 1;
        if leaf_hash(row.line.as_bytes())[..] != row.leaf[..] {
            found.push(format!(
                "audit entry {} is not the line that was appended: its hash differs",
                row.seq
            ));
        } else if let Some(part) = disagreement(&row) {
            found.push(format!(
                "audit entry {}: its {part} column does not say what its line says",
                row.seq
            ));
        }
        if row.t_us < last_t_us {
            found.push(format!("audit entry {} is dated before the last", row.seq));
        }
        last_t_us = row.t_us;
        last_leaf = row.leaf;
        found.len() < FINDINGS
    })?;
    if found.len() >= FINDINGS {
        return Ok(found);
    }
    let head = sql::head(db)?;
    if head.size != next {
        found.push(format!(
            "the audit log ends at {next} entries and should have {}",
            head.size
        ));
    } else if head.leaf != last_leaf {
        found.push("the last audit entry is not the one that was appended last".to_owned());
    }
    openings(db, &mut found)?;
    Ok(found)
}

fn disagreement(row: &sql::Row) -> Option<&'static str> {
    let Ok(line) = serde_json::from_str::<Value>(&row.line) else {
        return Some("line");
    };
    let text = |pointer: &str| line.pointer(pointer).and_then(Value::as_str).unwrap_or("");
    if line["seq"].as_i64() != Some(row.seq) {
        Some("seq")
    } else if text("/t") != crate::append::timestamp(row.t_us) {
        Some("time")
    } else if text("/act") != row.kind {
        Some("kind")
    } else if text("/who/id") != row.actor {
        Some("actor")
    } else if text("/obj/id") != row.object {
        Some("object")
    } else if text("/out") != row.out {
        Some("out")
    } else {
        None
    }
}

fn openings(db: &Db, found: &mut Vec<String>) -> rusqlite::Result<()> {
    sql::each_opening(db, |opening, line| {
        let pointer = format!("/{}", opening.field.replacen('.', "/", 1));
        let said = line
            .and_then(|line| serde_json::from_str::<Value>(line).ok())
            .and_then(|line| line.pointer(&pointer).cloned());
        let opens = said.as_ref().and_then(Value::as_str)
            == Some(commitment(&opening.salt, &opening.value).as_str());
        if !opens {
            found.push(format!(
                "the value kept for {} of audit entry {} does not open its commitment",
                opening.field, opening.seq
            ));
        }
        found.len() < FINDINGS
    })
}

#[cfg(test)]
mod tests;
