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
            "residue" if line.value.starts_with("LEFT") => "no",
            "residue" => "yes",
            "teardown" if line.value.contains("NOT") => "no",
            "teardown" => "yes",
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
