//! Parts of a run's page: problems, receipt, annotations, summaries.

use queue::AttemptRow;
use runner::receipt::Receipt;

use crate::detail::RunDetail;
use crate::markdown;
use crate::view::{Annotation, Fold, ProblemLine, Readme, Row};
use crate::words;

/// `path:line:column: text`, its place a link to the file at that commit.
pub(super) fn problem(detail: &RunDetail, text: &str) -> ProblemLine {
    let mut parts = text.splitn(4, ':');
    if let (Some(path), Some(line), Some(column), Some(rest)) =
        (parts.next(), parts.next(), parts.next(), parts.next())
        && line.parse::<u32>().is_ok()
        && column.parse::<u32>().is_ok()
    {
        let file = crate::href::path(path);
        return ProblemLine {
            place: Some(format!("{path}:{line}:{column}")),
            href: Some(format!(
                "/{}/blob/{}/{file}#L{line}",
                detail.repo.path, detail.run.sha
            )),
            text: crate::respond::sentence(rest.trim()),
        };
    }
    ProblemLine {
        place: None,
        href: None,
        text: crate::respond::sentence(text),
    }
}

pub(super) fn stored_receipt(row: &AttemptRow) -> Option<Receipt> {
    serde_json::from_value(row.receipt.clone()?).ok()
}

/// The receipt's lines as the page shows them, good and bad marked by sign and colour; its layers
/// and limits, which are many, apart.
pub(super) fn receipt_rows(receipt: &Receipt) -> (Vec<Row>, Vec<Fold>) {
    let (mut rows, mut layers, mut limits) = (Vec::new(), Vec::new(), Vec::new());
    for line in receipt.lines() {
        let class = match line.label {
            "isolation" if line.value.contains("NOT IN FORCE") => "no",
            "isolation" => "yes",
            "residue" => residue_class(receipt),
            "not searched" => "warned",
            "not known" => "warned",
            _ => "",
        };
        let to = match line.label {
            "isolation" => &mut layers,
            "limit" => &mut limits,
            _ => &mut rows,
        };
        let name = match line.label {
            "isolation" | "limit" => "",
            label => label,
        };
        to.push(Row {
            name: name.to_owned(),
            text: line.value,
            source: Some(line.source),
            class,
        });
    }
    let all = layers.len();
    let good = layers.iter().filter(|row| row.class == "yes").count();
    let folds = vec![
        Fold {
            title: format!("{good} of {all} isolation layers in force"),
            class: if good == all { "yes" } else { "no" },
            open: good != all,
            rows: layers,
        },
        Fold {
            title: words::count(u64::try_from(limits.len()).unwrap_or(0), "limit"),
            class: "",
            open: false,
            rows: limits,
        },
    ];
    (
        rows,
        folds
            .into_iter()
            .filter(|fold| !fold.rows.is_empty())
            .collect(),
    )
}

/// A tick only for a search that looked everywhere and found nothing.
fn residue_class(receipt: &Receipt) -> &'static str {
    let residue = &receipt.residue;
    if !residue.found.is_empty() || residue.searched.is_empty() {
        "no"
    } else if residue.not_searched.is_empty() {
        "yes"
    } else {
        "warned"
    }
}

pub(super) fn annotations(row: &AttemptRow) -> Vec<Annotation> {
    let all: Vec<runner::Annotation> =
        serde_json::from_value(row.annotations.clone()).unwrap_or_default();
    all.into_iter()
        .map(|a| {
            let (tone, word) = match a.level {
                runner::Level::Error => ("bad", "error"),
                runner::Level::Warning => ("wait", "warning"),
                runner::Level::Notice => ("run", "notice"),
            };
            let place = a.file.map(|file| match a.line {
                Some(line) => format!("{file}:{line}"),
                None => file,
            });
            Annotation {
                tone,
                word,
                place,
                title: a.title,
                text: a.message,
            }
        })
        .collect()
}

pub(super) fn summaries(row: &AttemptRow) -> Vec<Readme> {
    if row.summary.trim().is_empty() {
        return Vec::new();
    }
    vec![Readme {
        name: "of the job".to_owned(),
        html: markdown::render(&row.summary, None),
    }]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(found: &[&str], searched: &[&str], not_searched: &[&str]) -> &'static str {
        let texts = |all: &[&str]| serde_json::json!(all);
        let receipt = serde_json::json!({
            "version": 1,
            "fence": { "job": 1, "attempt": 1, "epoch": 1 },
            "runner": { "name": "", "version": "", "binary_sha256": "", "labels": [] },
            "machine": { "host": "", "kernel": "", "boot_id": "" },
            "executor": "embedded",
            "layers": [
                { "name": "seccomp", "in_force": false, "detail": "", "source": "" },
                { "name": "landlock", "in_force": true, "detail": "", "source": "" },
            ],
            "root": { "image": "", "mounts": "", "warm": false },
            "uid_map": [],
            "limits": [],
            "usage": null,
            "network": { "policy": "loopback", "interfaces": [] },
            "secrets": [],
            "timings": { "queued_ms": 0, "claimed_ms": 0, "prepared_ms": 0, "finished_ms": 0 },
            "background": [],
            "residue": {
                "searched": texts(searched),
                "found": texts(found),
                "not_searched": texts(not_searched),
            },
            "log": { "lines": 0, "bytes": 0 },
            "unread": [],
        });
        let receipt: Receipt = serde_json::from_value(receipt).unwrap();
        let (rows, folds) = receipt_rows(&receipt);
        assert_eq!(folds[0].title, "1 of 2 isolation layers in force");
        assert!(folds[0].open && folds[0].class == "no");
        rows.iter().find(|row| row.name == "residue").unwrap().class
    }

    #[test]
    fn only_a_whole_search_that_found_nothing_gets_a_tick() {
        assert_eq!(class(&[], &["processes"], &[]), "yes");
        assert_eq!(class(&[], &["processes"], &["mounts: denied"]), "warned");
        assert_eq!(class(&["pid 7"], &["processes"], &[]), "no");
        assert_eq!(class(&[], &[], &["all"]), "no");
    }
}
