//! A report on an export that was verified: people, changes, runs, bundles, exceptions, and what
//! of it is evidence toward which control. HTML to read, CSV to go on with.
//!
//! It never says that anything complies: that is for people to judge. A control without an entry
//! has its row too. Rows are written as entries pass; memory does not grow with the export.

mod controls;
mod text;

pub use controls::{Control, Controls, EXAMPLES, MAPPING};

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::Path;

use serde_json::Value;

use controls::fits;
use text::{csv_row, html_intro, html_row, html_table};

use crate::archive::ArchiveError;
use crate::verify::{Verdict, each};

/// Most people of a report; further ones are counted together.
const PEOPLE_MAX: usize = 10_000;
/// Most rows of a table in the HTML; the CSV has all.
const SHOWN: usize = 200;
const HEAD: &str = "entry,time,action,outcome,why,who,name,object,object name,details";

/// The tables that entries go to, by their kinds. One entry may stand in several.
const TABLES: &[(&str, &str, &[&str])] = &[
    (
        "changes",
        "Changes",
        &[
            "git.push",
            "git.force_push",
            "git.ref_*",
            "repo.*",
            "collaborator.*",
            "secret.*",
            "variable.*",
            "config.*",
            "user.*",
            "role.*",
            "token.*",
        ],
    ),
    ("runs", "Runs", &["job.*", "workflow.*"]),
    (
        "bundles",
        "Bundles",
        &[
            "bundle.*",
            "slip.*",
            "key.*",
            "selfupdate.*",
            "image.*",
            "action.*",
            "toolcache.*",
            "index.*",
        ],
    ),
];

/// Why a report was not written.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The export cannot be read.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The folder cannot be written.
    #[error("the report cannot be written")]
    Io(#[from] io::Error),
}

#[derive(Default)]
struct Person {
    name: String,
    entries: u64,
    refused: u64,
    last: String,
}

struct Table {
    title: &'static str,
    kinds: &'static [&'static str],
    csv: BufWriter<File>,
    file: String,
    count: u64,
    rows: String,
}

/// Writes the report on `export` into the folder `out`, which is made. `verdict` must be good.
pub fn write(export: &Path, verdict: &Verdict, out: &Path) -> Result<(), ReportError> {
    std::fs::create_dir_all(out)?;
    let mut controls = Controls::own();
    let mut people: BTreeMap<String, Person> = BTreeMap::new();
    let mut tables = Vec::new();
    for (file, title, kinds) in TABLES {
        tables.push(table(out, file, title, kinds)?);
    }
    let mut exceptions = table(out, "exceptions", "Exceptions", &[])?;
    let mut failed = None;
    each(export, |entry, opened| {
        let kind = entry["act"].as_str().unwrap_or_default();
        controls.see(entry);
        person(&mut people, entry, opened);
        let row = cells(entry, opened);
        for table in &mut tables {
            if table.kinds.iter().any(|wanted| fits(wanted, kind)) {
                failed = failed.take().or(table.add(&row).err());
            }
        }
        let grave = entry["sev"].as_u64() >= Some(4) || entry["out"] != "success";
        if grave {
            failed = failed.take().or(exceptions.add(&row).err());
        }
    })?;
    if let Some(error) = failed {
        return Err(error.into());
    }
    tables.push(exceptions);
    finish(out, verdict, &controls, &people, tables)
}

fn table(
    out: &Path,
    file: &str,
    title: &'static str,
    kinds: &'static [&'static str],
) -> io::Result<Table> {
    let file = format!("{file}.csv");
    let mut csv = BufWriter::new(File::create(out.join(&file))?);
    writeln!(csv, "{HEAD}")?;
    Ok(Table {
        title,
        kinds,
        csv,
        file,
        count: 0,
        rows: String::new(),
    })
}

impl Table {
    fn add(&mut self, row: &[String]) -> io::Result<()> {
        self.count += 1;
        if self.count <= SHOWN as u64 {
            self.rows.push_str(&html_row(row));
        }
        writeln!(self.csv, "{}", csv_row(row))
    }
}

fn person(people: &mut BTreeMap<String, Person>, entry: &Value, opened: &[(String, String)]) {
    let id = entry
        .pointer("/who/id")
        .and_then(Value::as_str)
        .unwrap_or("?");
    let full = people.len() >= PEOPLE_MAX && !people.contains_key(id);
    let found = people
        .entry(if full { "others" } else { id }.to_owned())
        .or_default();
    found.entries += 1;
    found.refused += u64::from(entry["out"] != "success");
    entry["t"]
        .as_str()
        .unwrap_or_default()
        .clone_into(&mut found.last);
    if let Some(name) = name(opened) {
        name.clone_into(&mut found.name);
    }
}

fn name(opened: &[(String, String)]) -> Option<&str> {
    opened
        .iter()
        .find(|(field, _)| field == "who.name_c")
        .map(|(_, value)| value.as_str())
}

fn cells(entry: &Value, opened: &[(String, String)]) -> Vec<String> {
    let text = |pointer: &str| match entry.pointer(pointer) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => String::new(),
        Some(other) => other.to_string(),
    };
    let mut row: Vec<String> = ["/seq", "/t", "/act", "/out", "/why", "/who/id"]
        .map(text)
        .to_vec();
    row.push(name(opened).unwrap_or_default().to_owned());
    row.extend(["/obj/id", "/obj/name", "/d"].map(text));
    row
}

fn finish(
    out: &Path,
    verdict: &Verdict,
    controls: &Controls,
    people: &BTreeMap<String, Person>,
    tables: Vec<Table>,
) -> Result<(), ReportError> {
    const PEOPLE_HEAD: &str = "who,name,entries,refused or failed,last seen";
    let rows = controls.rows(verdict.hidden);
    let mut body = html_intro(verdict);
    section(
        out,
        &mut body,
        "controls.csv",
        "Evidence toward controls",
        controls::HEAD,
        &rows,
    )?;
    let rows: Vec<Vec<String>> = people
        .iter()
        .map(|(id, p)| {
            vec![
                id.clone(),
                p.name.clone(),
                p.entries.to_string(),
                p.refused.to_string(),
                p.last.clone(),
            ]
        })
        .collect();
    section(out, &mut body, "people.csv", "People", PEOPLE_HEAD, &rows)?;
    for mut table in tables {
        table.csv.flush()?;
        let more = match table.count > SHOWN as u64 {
            true => format!("the first {SHOWN} of {}", table.count),
            false => format!("{} entries", table.count),
        };
        body.push_str(&format!(
            "<h2>{}</h2><p>{more}; all of them in <a href=\"{1}\">{1}</a></p>\n{2}",
            table.title,
            table.file,
            html_table(HEAD, &table.rows)
        ));
    }
    body.push_str("</main></html>\n");
    std::fs::write(out.join("index.html"), body)?;
    Ok(())
}

fn section(
    out: &Path,
    body: &mut String,
    file: &str,
    title: &str,
    head: &str,
    rows: &[Vec<String>],
) -> io::Result<()> {
    let mut csv = format!("{head}\n");
    rows.iter()
        .for_each(|row| csv.push_str(&format!("{}\n", csv_row(row))));
    std::fs::write(out.join(file), csv)?;
    let html: String = rows.iter().take(SHOWN).map(|row| html_row(row)).collect();
    body.push_str(&format!(
        "<h2>{title}</h2><p><a href=\"{file}\">{file}</a></p>\n{}",
        html_table(head, &html)
    ));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_no_formulas_and_no_markup() {
        let row = ["=1+1".to_owned(), "a\"b,c".to_owned(), "plain".to_owned()];
        assert_eq!(csv_row(&row), "\"'=1+1\",\"a\"\"b,c\",plain");
        assert_eq!(
            html_row(&["<b>&".to_owned()]),
            "<tr><td>&lt;b&gt;&amp;</td></tr>\n"
        );
    }
}
