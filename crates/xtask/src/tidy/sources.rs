//! One source file: its header, the homes of SQL, words that must not appear, its size.

use std::path::Path;

const FILE_LINES: usize = 400;
const FUNCTION_LINES: usize = 60;

/// Words that no file may hold. Each is in two halves, so that this file does not hold it.
const WORDS: &[(&str, &str, &str)] = &[
    ("/work", "/main", "a path of one machine"),
    ("/work", "/shared", "a path of one machine"),
    ("/root", "/.cargo", "a path of one machine"),
    ("deb.debian", ".org", "the host of a registry"),
    ("security.debian", ".org", "the host of a registry"),
    ("snapshot.debian", ".org", "the host of a registry"),
    ("pypi", ".org", "the host of a registry"),
    ("pythonhosted", ".org", "the host of a registry"),
    ("registry.npm", "js.org", "the host of a registry"),
    ("static.crates", ".io", "the host of a registry"),
    ("index.crates", ".io", "the host of a registry"),
    ("registry-1.docker", ".io", "the host of a registry"),
];

/// Words that no Rust file may hold.
const RUST_WORDS: &[(&str, &str, &str)] = &[
    ("#[ign", "ore", "a test that does not run"),
    ("tod", "o!(", "unfinished work"),
    ("unimple", "mented!(", "unfinished work"),
    ("// TO", "DO", "unfinished work"),
    ("// FIX", "ME", "unfinished work"),
    (
        "#[al",
        "low(",
        "an exception without a reason; use expect with one",
    ),
];

const SQL_STARTS: &[&str] = &[
    "select ",
    "insert into ",
    "insert or ",
    "delete from ",
    "create table ",
    "create index ",
    "drop table ",
    "alter table ",
    "with recursive ",
];

const SQL_CALLS: &[&str] = &[
    ".prepare_cached(",
    ".query_row(",
    ".query_map(",
    ".execute_batch(",
    ".query_one(",
];

/// Everything to mend in one file, as `path:line: message`.
pub(crate) fn check(path: &Path, text: &str) -> Vec<String> {
    let shown = path.display();
    let mut findings = Vec::new();
    let lock = path.file_name().is_some_and(|name| name == "Cargo.lock");
    let rust = path.extension().is_some_and(|kind| kind == "rs");
    for (number, line) in (1..).zip(text.lines()) {
        let general = if lock { &[][..] } else { WORDS };
        let special = if rust { RUST_WORDS } else { &[] };
        for (head, tail, what) in general.iter().chain(special) {
            if holds(line, head, tail) {
                findings.push(format!("{shown}:{number}: {what}: {head}{tail}"));
            }
        }
    }
    if rust && !text.starts_with("//! ") {
        findings.push(format!(
            "{shown}:1: the first line must be a `//!` header: its one job"
        ));
    }
    let home = path.to_string_lossy();
    if rust && (home.ends_with("/src/sql.rs") || home.contains("/src/sql/")) {
        for (number, line) in (1..).zip(shipped_lines(text)) {
            if names_no_columns(line) {
                findings.push(format!(
                    "{shown}:{number}: an insert names its columns, so that it goes on working \
                     when a later version adds one"
                ));
            }
        }
    }
    if rust && !is_sql_home(path) {
        for (number, line) in (1..).zip(shipped_lines(text)) {
            if is_sql(line) {
                findings.push(format!("{shown}:{number}: SQL stands in src/sql.rs only"));
            }
        }
    }
    findings
}

fn holds(line: &str, head: &str, tail: &str) -> bool {
    line.match_indices(head)
        .any(|(at, _)| line[at + head.len()..].starts_with(tail))
}

/// The lines before the unit tests.
fn shipped_lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().take_while(|line| *line != "#[cfg(test)]")
}

fn is_sql(line: &str) -> bool {
    let code = line.trim_start();
    if code.starts_with("//") {
        return false;
    }
    if SQL_CALLS.iter().any(|call| code.contains(call)) {
        return true;
    }
    // A statement begins a string literal, or a line of a longer one, in capitals.
    let starts = code.split('"').skip(1).chain([code]);
    starts.into_iter().any(|piece| {
        SQL_STARTS
            .iter()
            .any(|start| piece.starts_with(&start.to_uppercase()))
            || (piece.starts_with("UPDATE ") && piece.contains(" SET "))
    })
}

/// Whether an insert takes the columns as they come.
fn names_no_columns(line: &str) -> bool {
    let Some((_, rest)) = line.split_once("INTO ") else {
        return false;
    };
    let mut words = rest.split_whitespace();
    words.next();
    words
        .next()
        .is_some_and(|word| word.starts_with("VALUES") || word.starts_with("SELECT"))
}

fn is_sql_home(path: &Path) -> bool {
    let text = path.to_string_lossy();
    text.ends_with("/src/sql.rs")
        || text.contains("/src/sql/")
        || text.contains("/tests/")
        || text.contains("/examples/")
        || text.ends_with("/tests.rs")
        || text.starts_with("crates/store/src/")
        || text.starts_with("tests/")
        || text == "crates/xtask/src/tidy/sources.rs"
}

/// Files and functions past the guide, with their length in lines.
pub(crate) fn grown(path: &Path, text: &str) -> Vec<(usize, String)> {
    if path.extension().is_none_or(|kind| kind != "rs") {
        return Vec::new();
    }
    let mut found = Vec::new();
    let total = text.lines().count();
    if total > FILE_LINES {
        found.push((total, path.display().to_string()));
    }
    let mut open: Option<(usize, usize, String)> = None;
    for (number, line) in (1..).zip(text.lines()) {
        let code = line.trim_start();
        let indent = line.len() - code.len();
        match &open {
            None if is_function(code) && !code.ends_with(';') && !code.ends_with('}') => {
                open = Some((indent, number, function_name(code)));
            }
            Some((start, first, name)) if indent == *start && code.starts_with('}') => {
                let lines = number - first + 1;
                if lines > FUNCTION_LINES {
                    found.push((lines, format!("{}:{first} fn {name}", path.display())));
                }
                open = None;
            }
            Some((start, ..)) if indent == *start && code.ends_with(';') => open = None,
            _ => {}
        }
    }
    found
}

fn is_function(code: &str) -> bool {
    let words = [
        "pub ",
        "pub(crate) ",
        "pub(super) ",
        "const ",
        "async ",
        "unsafe ",
    ];
    let mut rest = code;
    while let Some(word) = words.iter().find(|word| rest.starts_with(**word)) {
        rest = &rest[word.len()..];
    }
    rest.starts_with("fn ")
}

fn function_name(code: &str) -> String {
    let after = code.split("fn ").nth(1).unwrap_or_default();
    after
        .chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sql_outside_its_home_is_found_and_prose_is_not() {
        let text = "//! Job.\nfn f() { db.run(\"SELECT a FROM b\"); }\n// SELECT is prose\n";
        let found = check(Path::new("crates/queue/src/lease.rs"), text);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("crates/queue/src/lease.rs:2"));
        assert!(check(Path::new("crates/queue/src/sql.rs"), text).is_empty());
    }

    #[test]
    fn an_insert_without_its_columns_is_found() {
        let text = "//! Queries.
fn f() { db.run(\"INSERT INTO a VALUES (1)\"); }\n\
                    fn g() { db.run(\"INSERT INTO a (b) VALUES (1)\"); }\n";
        let found = check(Path::new("crates/queue/src/sql.rs"), text);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("crates/queue/src/sql.rs:2"));
    }

    #[test]
    fn a_missing_header_and_forbidden_words_are_found() {
        let text = format!("fn f() {{ {}{}) }}\n", "tod", "o!(");
        let found = check(Path::new("crates/queue/src/a.rs"), &text);
        assert_eq!(found.len(), 2, "{found:?}");
        let host = format!("see https://{}{}/x\n", "pypi", ".org");
        assert_eq!(check(Path::new("docs/a.md"), &host).len(), 1);
        assert!(check(Path::new("Cargo.lock"), &host).is_empty());
    }

    #[test]
    fn a_long_function_is_listed_by_name() {
        let body = "    x();\n".repeat(70);
        let text = format!("//! Job.\npub(crate) fn long() {{\n{body}}}\nfn short() {{\n}}\n");
        let found = grown(Path::new("a.rs"), &text);
        assert_eq!(found.len(), 1);
        assert!(found[0].1.ends_with("fn long"), "{found:?}");
    }
}
